"use strict";
// Draws the reference from openapi.json. Text goes in as text, never as markup.

const made = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const nameOf = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(nameOf).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `${nameOf(schema.items) || "any"}[]`;
  return [schema.type || "any", schema.format && `(${schema.format})`].filter(Boolean).join(" ");
};

const row = (...cells) => made("tr", {}, ...cells.map((cell) => made("td", {}, cell)));

const parameters = (found) => {
  const table = made("table");
  for (const one of found) {
    const name = made("code", {}, one.name + (one.required ? " *" : ""));
    table.append(row(name, one.in, made("code", {}, nameOf(one.schema)), one.description || ""));
  }
  return table;
};

const contents = (content) =>
  Object.entries(content || {}).map(([type, { schema }]) => made("div", {}, made("code", {}, `${type}: ${nameOf(schema)}`)));

const answers = (responses) => {
  const table = made("table");
  for (const [status, one] of Object.entries(responses)) {
    table.append(row(made("code", {}, status), one.description, made("div", {}, ...contents(one.content))));
  }
  return table;
};

const operation = (verb, path, one) => {
  const summary = made("summary", {}, made("code", { class: `verb ${verb}` }, verb.toUpperCase()), made("code", {}, path));
  summary.append(made("span", { class: "says" }, one.summary || ""));
  const body = made("div", {}, made("p", {}, one.description || ""));
  if (one.parameters?.length) body.append(made("h3", {}, "Parameters"), parameters(one.parameters));
  if (one.requestBody) body.append(made("h3", {}, "Body"), ...contents(one.requestBody.content));
  body.append(made("h3", {}, "Answers"), answers(one.responses));
  return made("details", {}, summary, body);
};

const draw = (document_) => {
  const groups = new Map();
  for (const [path, verbs] of Object.entries(document_.paths)) {
    for (const [verb, one] of Object.entries(verbs)) {
      const tag = one.tags?.[0] || "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(verb, path, one));
    }
  }
  const reference = document.getElementById("reference");
  for (const [tag, operations] of groups) reference.append(made("h2", {}, tag), ...operations);
  reference.append(made("h2", {}, "Schemas"));
  for (const [name, schema] of Object.entries(document_.components.schemas)) {
    const summary = made("summary", {}, made("code", {}, name), made("span", { class: "says" }, schema.description || ""));
    reference.append(made("details", {}, summary, made("div", {}, made("pre", {}, JSON.stringify(schema, null, 2)))));
  }
  document.getElementById("intro").textContent = document_.info.description || "";
};

fetch("openapi.json")
  .then((response) => response.json())
  .then(draw)
  .catch((error) => { document.getElementById("intro").textContent = `The document cannot be read: ${error}`; });
