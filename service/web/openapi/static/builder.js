// The request builder: a form for each operation, made from openapi.json when it is opened. It shows the request as a
// command, sends it with the token of the page, and shows the answer. The token stays in the memory of the page. Whatever
// comes from a document or an answer is put into the page as text.
"use strict";
{
  const MOST_SHOWN = 100_000;
  const token = document.getElementById("token");
  // The newest ETag of each resource, by its id: a change needs it in If-Match.
  const versions = new Map();
  let description;

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

  async function readDocument() {
    const answer = await fetch("openapi.json", { credentials: "omit" });
    return answer.json();
  }

  function findOperation(name) {
    for (const [path, item] of Object.entries(description.paths))
      for (const [method, operation] of Object.entries(item))
        if (operation.operationId === name) return { path, method: method.toUpperCase(), ...operation };
    throw new Error(`no operation ${name}`);
  }

  /** The input of a parameter: a choice if the document lists the values. */
  function makeInput({ name, schema, required = false }) {
    const values = schema.enum ?? (schema.type === "boolean" ? [true, false] : undefined);
    if (values) {
      const none = required ? [] : [make("option", { value: "", textContent: "" })];
      return make("select", { name, required }, ...none, ...values.map((value) => make("option", { textContent: value })));
    }
    const example = schema.examples?.[0] ?? schema.default ?? schema.format ?? "";
    const input = make("input", { name, required, placeholder: example, autocomplete: "off", spellcheck: false });
    if (schema.maxLength) input.maxLength = schema.maxLength;
    return input;
  }

  function findExample(content) {
    const given = Object.values(content.examples ?? {})[0]?.value;
    const name = content.schema.$ref?.split("/").at(-1);
    const example = given ?? description.components.schemas[name]?.examples?.[0] ?? "";
    return typeof example === "string" ? example : JSON.stringify(example, null, 2);
  }

  /** The request that a form describes. */
  function readRequest({ path, method, parameters = [], security = [] }, form) {
    const headers = new Headers();
    const query = new URLSearchParams();
    for (const { name, in: place } of parameters) {
      const { value } = form.elements[name];
      if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
      else if (value !== "" && place === "query") query.set(name, value);
      else if (value !== "" && place === "header") headers.set(name, value);
    }
    const body = form.elements["@body"]?.value;
    if (body) headers.set("Content-Type", form.elements["@kind"].value);
    const where = new URL(path.slice(1) + (query.size ? `?${query}` : ""), new URL(".", location.href));
    return { url: where.href, method, headers, body: body || undefined, secured: security.length > 0 };
  }

  function writeCommand({ url, method, headers, body, secured }) {
    const verb = method === "GET" || (method === "POST" && body) ? "" : `-X ${method} `;
    const parts = [`curl -s ${verb}${quote(url)}`];
    if (secured) parts.push('-H "Authorization: Bearer $TOKEN"');
    for (const [name, value] of headers) parts.push(`-H ${quote(`${name}: ${value}`)}`);
    if (body) parts.push(`--data-binary ${quote(body)}`);
    return parts.join(" \\\n  ");
  }

  function showAnswer(answer, text) {
    const kind = answer.headers.get("Content-Type") ?? "";
    if (/octet-stream|parquet/.test(kind)) text = `${text.length} characters of ${kind}`;
    if (/json\b/.test(kind)) text = JSON.stringify(JSON.parse(text), null, 2);
    const rest = text.length > MOST_SHOWN ? `\n... ${text.length - MOST_SHOWN} more characters` : "";
    const headers = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    return [
      make("h4", { textContent: `${answer.status} ${answer.statusText}` }),
      make("pre", { textContent: headers, className: "headers", tabIndex: 0 }),
      ...(text ? [make("pre", { textContent: text.slice(0, MOST_SHOWN) + rest, className: "answer", tabIndex: 0 })] : []),
    ];
  }

  function rememberVersion(form, answer) {
    const tag = answer.headers.get("ETag");
    const id = answer.headers.get("Location")?.split("/").at(-1) ?? form.querySelector("[data-in=path]")?.value;
    if (tag && id) versions.set(id, tag);
  }

  function makeForm(operation, command) {
    const rows = (operation.parameters ?? []).map((parameter) => {
      const input = makeInput(parameter);
      input.dataset.in = parameter.in;
      return make("label", {}, make("code", { textContent: parameter.name }), parameter.required ? " " : " optional", input);
    });
    const contents = Object.entries(operation.requestBody?.content ?? {});
    if (contents.length) {
      const kind = make("select", { name: "@kind" }, ...contents.map(([name]) => make("option", { textContent: name })));
      const body = make("textarea", { name: "@body", rows: 8, spellcheck: false, required: operation.requestBody.required });
      const fill = () => (body.value = findExample(operation.requestBody.content[kind.value]));
      kind.addEventListener("change", fill);
      fill();
      rows.push(make("label", {}, "Media type", kind), make("label", { className: "body" }, "Body", body));
    }
    const output = make("output");
    const form = make("form", {}, ...rows, make("button", { textContent: "Send" }), output);
    const update = () => {
      const match = form.elements["If-Match"];
      const known = versions.get(form.querySelector("[data-in=path]")?.value);
      if (match && known && !match.dataset.written) match.value = known;
      command.textContent = writeCommand(readRequest(operation, form));
    };
    form.addEventListener("input", ({ target }) => {
      if (target.name === "If-Match") target.dataset.written = "yes";
      update();
    });
    form.addEventListener("focusin", update);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      update();
      const { url, secured, ...request } = readRequest(operation, form);
      if (secured && token.value.trim()) request.headers.set("Authorization", `Bearer ${token.value.trim()}`);
      output.replaceChildren("Waiting ...");
      try {
        const answer = await fetch(url, { ...request, credentials: "omit", cache: "no-store", redirect: "error" });
        const text = await answer.text();
        rememberVersion(form, answer);
        // What was sent is no longer current: the next change needs the new version.
        delete form.elements["If-Match"]?.dataset.written;
        output.replaceChildren(...showAnswer(answer, text));
      } catch (error) {
        output.replaceChildren(make("p", { textContent: `No answer: ${error.message}` }));
      }
    });
    update();
    return form;
  }

  token.closest("[hidden]").hidden = false;
  for (const command of document.querySelectorAll("pre.command")) {
    const button = make("button", { type: "button", textContent: "Build a request", className: "build" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        description ??= await readDocument();
        button.replaceWith(makeForm(findOperation(command.closest("article").id), command));
      } catch (error) {
        button.disabled = false;
        button.textContent = `Try again: ${error.message}`;
      }
    });
    command.after(button);
  }
}
