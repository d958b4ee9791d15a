// A form from a JSON schema of the API's description. Every part is {element, read, fill}: `read` gives the value or
// undefined for one that is left out, `fill` puts a value in (undefined empties).
let count = 0;

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

export class Forms {
  constructor(schemas) {
    this.schemas = schemas;
  }

  // The schema behind a reference, with what stands beside the reference.
  resolve(schema) {
    if (!schema.$ref) return schema;
    const { $ref, ...beside } = schema;
    return { ...this.schemas[$ref.split("/").at(-1)], ...beside };
  }

  // The members of an object, as a list of fields.
  object(given, path) {
    const schema = this.resolve(given);
    const required = new Set(schema.required ?? []);
    const parts = Object.entries(schema.properties ?? {}).map(([name, member]) => [
      name, this.member(name, member, path ? `${path}.${name}` : name, required.has(name)),
    ]);
    return {
      element: make("div", { class: "members" }, ...parts.map(([, part]) => part.element)),
      read() {
        const values = parts.map(([name, part]) => [name, part.read()]).filter(([, value]) => value !== undefined);
        return values.length ? Object.fromEntries(values) : undefined;
      },
      fill(value) {
        for (const [name, part] of parts) part.fill(value?.[name]);
      },
    };
  }

  member(name, given, path, required) {
    const schema = this.resolve(given);
    if (schema.type === "array") return this.list(name, schema, path, required);
    if (schema.type === "object") return this.group(name, schema, path, required);
    return this.scalar(name, schema, path, required);
  }

  group(name, schema, path, required) {
    const inner = this.object(schema, path);
    const element = make("details", { open: required, "data-path": path },
      make("summary", {}, name, mark(required)), note(schema), inner.element);
    return {
      element,
      read: inner.read,
      fill(value) {
        inner.fill(value);
        element.open = required || value !== undefined;
      },
    };
  }

  list(name, schema, path, required) {
    const items = make("ol");
    let parts = [];
    const add = (value) => {
      const at = `${path}.${parts.length}`;
      const item = this.resolve(schema.items);
      const part = item.type === "object" ? this.object(item, at) : this.scalar(`${name} ${parts.length + 1}`, item, at, false);
      const remove = make("button", { type: "button", "aria-label": `Remove ${name} ${parts.length + 1}` }, "Remove");
      const line = make("li", {}, part.element, remove);
      const entry = { part, line };
      remove.addEventListener("click", () => {
        parts = parts.filter((other) => other !== entry);
        line.remove();
        items.dispatchEvent(new Event("input", { bubbles: true }));
      });
      parts.push(entry);
      items.append(line);
      if (value !== undefined) part.fill(value);
      return line;
    };
    const button = make("button", { type: "button", "aria-label": `Add to ${name}` }, "Add");
    button.addEventListener("click", () => add().querySelector("input, select")?.focus());
    return {
      element: make("fieldset", { "data-path": path }, make("legend", {}, name, mark(required)), note(schema), items, button),
      read() {
        const values = parts.map(({ part }) => part.read()).filter((value) => value !== undefined);
        return values.length ? values : undefined;
      },
      fill(values) {
        parts.forEach(({ line }) => line.remove());
        parts = [];
        for (const value of values ?? []) add(value);
      },
    };
  }

  scalar(name, schema, path, required) {
    const id = `member-${++count}`;
    const told = schema.description ? `${id}-told` : undefined;
    const common = { id, name: path, "data-path": path, required, "aria-describedby": told };
    const control = schema["x-choices"] ? choices(schema["x-choices"], common)
      : schema.enum ? choices(Object.fromEntries(schema.enum.map((one) => [one, String(one)])), common)
      : schema.type === "boolean" ? choices({ true: "true", false: "false" }, common)
      : input(schema, common);
    return {
      element: make("div", { class: "member" },
        make("label", { for: id }, name, mark(required)), control, note(schema, told)),
      read: () => (control.value === "" ? undefined : value(schema, control.value)),
      fill(given) {
        control.value = given === undefined ? "" : String(given);
      },
    };
  }
}

function mark(required) {
  return required ? make("span", { class: "required", title: "required" }, " *") : undefined;
}

function note(schema, id) {
  const bounds = [];
  if (schema.type === "integer" && !schema["x-choices"] && schema.maximum < Number.MAX_SAFE_INTEGER) {
    bounds.push(`${schema.minimum} to ${schema.maximum}`);
  }
  if (schema.maxItems) bounds.push(`at most ${schema.maxItems}`);
  if (schema.default !== undefined) bounds.push(`default ${schema.default}`);
  const text = [schema.description, bounds.length ? `(${bounds.join(", ")})` : ""].filter(Boolean).join(" ");
  return text ? make("p", { class: "note", id }, ...marked(text)) : undefined;
}

// Text with `code` in it.
function marked(text) {
  return text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
}

function choices(all, attributes) {
  const options = Object.entries(all).map(([value, stands]) =>
    make("option", { value }, value === stands ? value : `${value}: ${stands}`));
  return make("select", attributes, make("option", { value: "" }, "(left out)"), ...options);
}

function input(schema, attributes) {
  const number = schema.type === "integer" || schema.type === "number";
  return make("input", {
    ...attributes,
    type: schema.format === "password" ? "password" : "text",
    autocomplete: schema.format === "password" ? "new-password" : "off",
    spellcheck: "false",
    inputmode: number ? "numeric" : undefined,
    pattern: schema.type === "integer" ? "-?[0-9]+" : undefined,
    placeholder: schema.examples ? String(schema.examples[0]) : undefined,
  });
}

// What was typed, as the schema's type; an integer that a double cannot hold stays exact.
function value(schema, typed) {
  if (schema.type === "boolean") return typed === "true";
  if (schema.type === "integer" && /^-?[0-9]+$/.test(typed)) {
    return Number.isSafeInteger(Number(typed)) ? Number(typed) : BigInt(typed);
  }
  if (schema.type === "number" && typed.trim() && Number.isFinite(Number(typed))) return Number(typed);
  return typed;
}

// An example without what only its owner can fill in.
export function fillable(given) {
  if (Array.isArray(given)) return given.map(fillable);
  if (given === null || typeof given !== "object") return given;
  return Object.fromEntries(Object.entries(given).filter(([, one]) => one !== "…").map(([name, one]) => [name, fillable(one)]));
}
