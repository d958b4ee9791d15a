// JSON text of plain values, with integers of any size (BigInt): JSON.stringify has no way to write those.
export function write(value, indent = 0, depth = 0) {
  if (typeof value === "bigint") return value.toString();
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const inner = indent ? `\n${" ".repeat(indent * (depth + 1))}` : "";
  const outer = indent ? `\n${" ".repeat(indent * depth)}` : "";
  const comma = indent ? `,${inner}` : ", ";
  const parts = Array.isArray(value)
    ? value.map((item) => write(item, indent, depth + 1))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${write(item, indent, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return parts.length ? open + inner + parts.join(comma) + outer + close : open + close;
}
