// The page: reads the API's description, shows a form per action, signs here, sends to its own origin.
import { Forms, fillable, make } from "./form.mjs";
import { write } from "./json.mjs";
import { sign } from "./signing.mjs";
import { LANGUAGES, generate } from "./snippets.mjs";
import { issue } from "./usersig.mjs";

const $ = (id) => document.getElementById(id);
const state = { document: null, forms: null, action: null, form: null };
const remembered = {}; // what was typed into an action's form, while the page is open

async function start() {
  state.document = await (await fetch("/openapi.json")).json();
  state.forms = new Forms(state.document.components.schemas);
  for (const [id, { name }] of Object.entries(LANGUAGES)) $("language").append(make("option", { value: id }, name));
  list("");
  $("search").addEventListener("input", () => list($("search").value));
  $("search").addEventListener("keydown", (event) => {
    const first = $("actions").querySelector("a");
    if (event.key === "Enter" && first) window.location.hash = first.hash;
  });
  $("call").addEventListener("input", preview);
  $("call").addEventListener("click", (event) => event.target.type === "button" && preview());
  $("call").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  $("example").addEventListener("click", () => { fill(fillable(rows()[state.action].example.request)); });
  $("language").addEventListener("change", preview);
  $("copy").addEventListener("click", copy);
  $("issue").addEventListener("click", () => put().catch((fault) => say(String(fault), true)));
  window.addEventListener("hashchange", choose);
  if (!globalThis.isSecureContext) say("This browser signs only on https or on loopback: open the page there.", true);
  choose();
}

const rows = () => state.document["x-roomtape-actions"];
// The codes an action may answer.
function codesOf(row) {
  const error = state.forms.resolve(row.answer).properties.Response.oneOf[1].properties.Error;
  return error.properties.Code.enum;
}

const requestOf = (action) => rows()[action].request;

// The actions that have every word of the search in name, group, summary or parameters.
function list(search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const groups = new Map();
  for (const [name, row] of Object.entries(rows())) {
    const members = Object.keys(state.forms.resolve(row.request).properties ?? {});
    const text = [name, row.group, row.summary, ...members].join(" ").toLowerCase();
    if (!words.every((word) => text.includes(word))) continue;
    const link = make("a", { href: `#${name}`, class: row.built ? undefined : "planned" }, name);
    if (!row.built) link.append(make("small", {}, " not built"));
    if (!groups.has(row.group)) groups.set(row.group, []);
    groups.get(row.group).push(make("li", {}, link));
  }
  $("actions").replaceChildren(...[...groups].flatMap(([group, items]) => [make("h3", {}, group), make("ul", {}, ...items)]));
  if (!groups.size) $("actions").append(make("p", {}, "no action has all of these words"));
  current();
}

function current() {
  for (const link of $("actions").querySelectorAll("a")) {
    if (link.hash === `#${state.action}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function choose() {
  const wanted = window.location.hash.slice(1);
  if (state.action && !(wanted in rows())) return; // a place in the page, not an action
  const action = wanted in rows() ? wanted : Object.keys(rows())[0];
  if (state.action) remembered[state.action] = state.form.read();
  state.action = action;
  state.form = state.forms.object(requestOf(action), "");
  const row = rows()[action];
  $("name").textContent = action;
  $("summary").textContent = row.summary;
  $("region").replaceChildren(...row.regions.map((region) => make("option", {}, region)));
  if (row.regions.includes("ap-singapore")) $("region").value = "ap-singapore";
  $("form").replaceChildren(state.form.element);
  const rate = row.calls_per_second;
  $("facts").textContent = rate >= 1 ? `At most ${rate} calls a second of an account.` : `At most one call in ${Math.round(1 / rate)} s of an account.`;
  $("codes").replaceChildren(...codesOf(row).flatMap((code) => [
    make("dt", {}, make("code", {}, code)), make("dd", {}, state.document["x-roomtape-codes"][code] ?? ""),
  ]));
  $("usersig").hidden = !member("UserSig");
  $("answer").textContent = "";
  $("shown").textContent = JSON.stringify({ Response: { ...row.example.answer, RequestId: "…" } }, null, 2);
  say("");
  fill(remembered[action]);
  current();
}

function fill(value) {
  const typed = $("app").value;
  state.form.fill({ ...value, ...(typed ? { SdkAppId: typed } : {}) });
  preview();
}

const member = (path) => document.querySelector(`#form [data-path="${path}"]`);

// A UserSig for the user of the form, put into the form.
async function put() {
  const [sdkAppId, user, key] = [member("SdkAppId").value.trim(), member("UserId").value.trim(), $("user-key").value.trim()];
  if (!/^[0-9]+$/.test(sdkAppId) || !user || !key) throw new Error("SdkAppId, UserId and the key are needed first");
  const now = Math.floor(Date.now() / 1000);
  member("UserSig").value = await issue({ key, sdkAppId, user, now, expire: 86400 });
  preview();
  say(`a UserSig of ${user} is in the form, valid for a day`);
}

function call() {
  return {
    action: state.action,
    version: state.document.paths["/"].post.parameters.find((header) => header.name === "X-TC-Version").schema.const,
    region: $("region").value,
    scheme: window.location.protocol.slice(0, -1),
    host: window.location.host,
    body: state.form.read() ?? {},
  };
}

function preview() {
  const sdkAppId = member("SdkAppId");
  if (sdkAppId?.value) $("app").value = sdkAppId.value;
  const made = call();
  $("body").textContent = write(made.body, 2);
  $("code").textContent = generate($("language").value, made);
}

async function send() {
  const { body, ...made } = call();
  const text = write(body);
  $("send").disabled = true;
  say("sending");
  try {
    const signed = await sign({
      ...made, body: text, language: "en-US", timestamp: Math.floor(Date.now() / 1000),
      secretId: $("secret-id").value.trim(), secretKey: $("secret-key").value.trim(), token: $("token").value.trim(),
    });
    const head = Object.entries({ Host: made.host, ...signed.headers }).map(([name, value]) => `${name}: ${value}`);
    $("request").textContent = `POST / HTTP/1.1\n${head.join("\n")}\n\n${text}`;
    $("canonical").textContent = signed.canonical;
    $("to-sign").textContent = signed.toSign;
    const begin = performance.now();
    const answer = await fetch("/", { method: "POST", headers: signed.headers, body: text });
    const raw = await answer.text();
    const took = Math.round(performance.now() - begin);
    const error = JSON.parse(raw).Response.Error;
    $("answer").textContent = pretty(raw);
    say(error ? `${error.Code}: ${error.Message} (${took} ms)` : `done in ${took} ms`, Boolean(error));
  } catch (fault) {
    say(String(fault), true);
  } finally {
    $("send").disabled = false;
  }
}

// Laid out for reading; shown as it came if a number in it would not survive that.
function pretty(raw) {
  const read = JSON.parse(raw);
  return /[0-9]{16}/.test(raw) ? raw : JSON.stringify(read, null, 2);
}

function say(text, bad = false) {
  $("state").textContent = text;
  $("state").classList.toggle("bad", bad);
}

async function copy() {
  await navigator.clipboard.writeText($("code").textContent);
  $("copied").textContent = "copied";
}

start().catch((fault) => say(`The description of the API cannot be read: ${fault}`, true));
