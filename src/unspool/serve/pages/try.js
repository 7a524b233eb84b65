// The page: a model is chosen, asked, and what it says is shown.
const asked = new URLSearchParams(location.search);
let bearer = "", socket = null;

async function call(path, body) {
  const headers = bearer ? {"Authorization": "Bearer " + bearer} : {};
  const options = body === undefined ? {headers} : {method: "POST", headers, body: JSON.stringify(body)};
  const response = await fetch(path, options);
  const found = await response.json();
  if (response.status === 401) at("token").hidden = false;
  if (!response.ok) throw new Error(found.error);
  return found;
}

const path = () => "/v2/models/" + encodeURIComponent(at("model").value);
const writes = () => about.parameters.options.includes("max_new_tokens");

async function choose() {
  about = await call(path());
  at("about").textContent = about.parameters.description;
  at("given").placeholder = placeholder();
  at("go").textContent = writes() ? "Write" : isTable() ? "Forecast" : "Predict";
  fields("beside", Object.fromEntries(columns().map((one) => [one.name, ""])));
  fields("options", parameters());
  clear();
}

function clear() {
  if (socket) socket.close();
  socket = null;
  at("looks").hidden = true;
  at("answer").replaceChildren();
  at("picture").replaceChildren();
}

function show(outputs, tokens) {
  const by = Object.fromEntries(outputs.map((one) => [one.name, one.data]));
  const own = about.parameters;
  if (isTable()) return;
  if (isInputs()) {
    at("answer").append(...outputs.map((one) =>
      made("p", {className: "big"}, one.name + " [" + one.shape.join(", ") + "]: " + one.data.map(shown).join(", "))));
    return;
  }
  if (by.tags) {
    if (by.label) at("answer").append(made("p", {className: "big"}, shown(by.label[0])));
    at("answer").append(...bars(own.labels || [], by.label_probabilities || []), tagged(tokens, by.tags, own.classes));
    return;
  }
  const said = (by.prediction || by.label || by.labels).map(shown).join(", ");
  at("answer").append(made("p", {className: "big"}, said), ...bars(own.classes, by.probabilities || []));
}

// The past of each series and what is ahead; 12 of them at most.
function forecasts(past, outputs) {
  const ahead = Object.fromEntries(outputs.map((one) => [one.name, one.data]));
  const {id, time, target} = about.parameters.columns;
  const of = (columns, name, key) => columns[name].filter((_, k) => id === null || columns[id][k] === key);
  const low = Object.keys(ahead).find((name) => name.startsWith("lo-"));
  const series = id === null ? [null] : [...new Set(ahead[id])];
  at("picture").replaceChildren(...series.slice(0, 12).map((key) => {
    const h = of(ahead, time, key).length, before = of(past, target, key).slice(-Math.max(60, 4 * h));
    const stamps = of(past, time, key).slice(-before.length), next = of(ahead, time, key);
    const last = before[before.length - 1];
    const line = {name: "forecast", from: before.length - 1, values: [last, ...of(ahead, target, key)]};
    const band = low && {name: low.slice(3) + " %", from: before.length, low: of(ahead, low, key),
      high: of(ahead, low.replace("lo-", "hi-"), key)};
    const title = key === null ? target : id + " " + key;
    const told = band ? title + ", forecast with intervals of " + band.name : title + ", forecast";
    return made("div", {}, made("p", {className: "about"}, told),
      chart(title, [{name: target, from: 0, values: before}, line], band, [String(stamps[0]), String(next[h - 1])]));
  }));
  if (series.length > 12) at("picture").append(made("p", {className: "about"}, "The first 12 of " + series.length + " series."));
}

// Text as it comes, behind its prompt.
function write(prompt, options) {
  const written = made("b", {});
  at("answer").append(made("p", {className: "written"}, prompt, written));
  const address = new URL(path() + "/stream", location.href);
  address.protocol = location.protocol.endsWith("s:") ? "wss:" : "ws:";
  const own = new WebSocket(address, ["unspool.v1", ...(bearer ? ["bearer." + bearer] : [])]);
  socket = own;
  return new Promise((resolve, reject) => {
    own.onopen = () => own.send(JSON.stringify({prompt, ...options}));
    own.onmessage = (message) => {
      const found = JSON.parse(message.data);
      if (found.piece) written.append(found.piece);
      if (found.error) reject(new Error(found.error));
      if (found.outputs) resolve();
      if (found.error || found.outputs) own.close();
    };
    own.onclose = () => socket === own ? reject(new Error("The connection broke. Ask again.")) : resolve();
  });
}

async function look() {
  const body = {sequence: sequence()};
  if (about.parameters.drawn === "attention") {
    const found = await call(path() + "/activity", body);
    at("picture").replaceChildren(
      made("p", {className: "about"}, "A row is a token of the answer, a column one of the input: the darker, the more it attends."),
      attention(found));
    return;
  }
  body.layer = Number(at("layer").value || 1);
  if (at("direction").value) body.backward = true;
  const found = await call(path() + "/activity", body);
  at("looks").hidden = false;
  at("direction").parentNode.hidden = found.directions < 2;
  at("layer").parentNode.hidden = found.layers < 2;
  if (at("layer").options.length !== found.layers) {
    at("layer").replaceChildren(...Array.from({length: found.layers}, (_, k) => new Option(k + 1)));
  }
  const cell = cellOf(found.tokens.length);
  at("gates").replaceChildren(...Object.keys(found.gates).map((name, k) =>
    gate(name, found.gates[name], k === 0 ? found.tokens : null, cell)));
}

async function attempt(action) {
  at("error").textContent = "";
  try { await action(); } catch (error) { at("error").textContent = error.message; }
  document.body.dataset.state = at("error").textContent ? "error" : "done";
}

async function predict() {
  clear();
  const read = sequence(), options = given();
  if (writes()) return write(read, options);
  const inputs = tensors(read);
  const found = await call(path() + "/infer", {inputs, parameters: options});
  show(found.outputs, read);
  if (isTable()) return forecasts(table(read), found.outputs);
  if (about.parameters.kind === "series") {
    const lines = (read[0] || []).map((_, k) => ({name: "feature " + (k + 1), from: 0, values: read.map((step) => step[k])}));
    if (lines.length <= 32) at("picture").append(chart("input", lines, null, ["1", String(read.length)]));
  }
  if (about.parameters.drawn && !columns().length) await look();
}

async function example() {
  const described = await call("/openapi.json");
  const content = described.paths["/v2/models/" + at("model").value + "/infer"].post.requestBody.content;
  fill(content["application/json"].example.inputs);
}

async function start() {
  const models = await call("/v2/repository/index", {});
  at("model").replaceChildren(...models.map((one) => new Option(one.name)));
  at("token").hidden = true;
  if (asked.has("model")) at("model").value = asked.get("model");
  await choose();
  if (asked.has("input")) {
    at("given").value = asked.get("input");
    await predict();
  }
}

at("model").onchange = () => attempt(choose);
at("go").onclick = () => attempt(predict);
at("other").onclick = () => attempt(example);
at("layer").onchange = at("direction").onchange = () => attempt(look);
at("enter").onclick = () => { bearer = at("bearer").value; attempt(start); };
attempt(start);
