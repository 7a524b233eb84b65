// What stands in the page as the tensors of a request, and an example of it.
const at = (id) => document.getElementById(id);
let about = null; // of the model: its tensors and what they are

const isTable = () => about.parameters.kind === "table";
const isInputs = () => about.parameters.kind === "inputs"; // a model of another library: as JSON
const columns = () => isTable() || isInputs() ? [] : about.inputs.slice(1).filter((one) => one.name !== "lengths");

const number = (word) => {
  if (word === "") return null;
  if (!Number.isFinite(Number(word))) throw new Error("“" + word + "” is no number.");
  return Number(word);
};

function placeholder() {
  const main = about.inputs[0], width = main.shape.length > 2 ? main.shape[2] : 1;
  return {
    tokens: "Words, with spaces between them",
    ids: "Token ids: 3 1 4",
    series: "A step a line, " + width + " number" + (width > 1 ? "s" : "") + " each: 0.5, 1.2",
    inputs: "The inputs of a request as JSON: " + about.inputs.map((one) => one.name).join(", "),
    table: "A table, a line for each time stamp: " + about.inputs.map((one) => one.name).join(", "),
  }[about.parameters.kind] || "A text";
}

// As the path "activity" takes it.
function sequence() {
  const text = at("given").value;
  const lines = () => text.split(/\n/).filter((line) => line.trim());
  switch (about.parameters.kind) {
    case "tokens": return text.split(/\s+/).filter(Boolean);
    case "ids": return text.split(/[\s,;]+/).filter(Boolean).map(number);
    case "series": return lines().map((line) => line.trim().split(/\s*[,;\t]\s*|\s+/).map(number));
    case "table": return lines().map(cells);
    case "inputs": return JSON.parse(text);
    default: return text;
  }
}

const cells = (line) => [...(line + ",").matchAll(/(?:\s*"((?:[^"]|"")*)"\s*|([^",]*)),/g)]
  .map((found) => found[1] === undefined ? found[2].trim() : found[1].replaceAll('""', '"'));

// Name -> values, of the lines of a table.
function table([names, ...rows]) {
  const known = about.inputs.map((one) => one.name);
  if (!names || known.some((name) => !names.includes(name))) {
    throw new Error("The first line must name the columns: " + known.join(", ") + ".");
  }
  const wrong = rows.findIndex((row) => row.length !== names.length);
  if (wrong >= 0) throw new Error("Line " + (wrong + 2) + " has " + rows[wrong].length + " cells, not " + names.length + ".");
  return Object.fromEntries(about.inputs.map((one) => {
    const words = rows.map((row) => row[names.indexOf(one.name)]);
    return [one.name, one.datatype === "BYTES" ? words : words.map(number)];
  }));
}

function tensors(given) {
  const one = (spec, shape, data) => ({name: spec.name, datatype: spec.datatype, shape, data});
  const main = about.inputs[0];
  if (isInputs()) return given;
  if (isTable()) {
    const found = table(given);
    return about.inputs.map((spec) => one(spec, [found[spec.name].length], found[spec.name]));
  }
  const first = typeof given === "string" ? one(main, [1], [given])
    : main.shape.length > 2 ? one({...main, datatype: "FP64"}, [given.length, main.shape[2]], given)
    : one(main, [given.length], given);
  return [first, ...columns().map((column) => {
    const text = field("beside", column.name).value;
    return one(column, [1], [column.datatype === "BYTES" ? text : number(text.trim())]);
  })];
}

const field = (place, name) => at(place).querySelector('[data-name="' + CSS.escape(name) + '"]');

function fields(place, values) {
  at(place).replaceChildren(...Object.entries(values).map(([name, value]) => {
    const input = made("input", {value: value ?? ""});
    input.dataset.name = name;
    return made("label", {}, name + " ", input);
  }));
}

// The parameters of a request that the page has fields for, with what they begin with.
function parameters() {
  const own = about.parameters;
  const known = {max_new_tokens: 200, temperature: 1, top_p: 1, random_state: "", h: own.horizon, level: own.level};
  return Object.fromEntries(own.options.filter((name) => name in known).map((name) => [name, known[name]]));
}

function given() {
  const found = {};
  for (const name of Object.keys(parameters())) {
    const value = number(field("options", name).value.trim());
    if (value !== null) found[name] = value;
  }
  return found;
}

// The first sequence, or the table, of the request that the server tells as its example.
function fill(inputs) {
  const by = Object.fromEntries(inputs.map((one) => [one.name, one.data]));
  const main = about.inputs[0], all = by[main.name], length = (by.lengths || [1])[0];
  const quoted = (v) => /[",\n]/.test(v ?? "") ? '"' + v.replaceAll('"', '""') + '"' : v ?? "";
  if (isInputs()) {
    at("given").value = JSON.stringify(inputs);
    return;
  }
  if (isTable()) {
    const names = about.inputs.map((one) => one.name);
    at("given").value = [names, ...all.map((_, k) => names.map((name) => by[name][k]))]
      .map((row) => row.map(quoted).join(",")).join("\n");
    return;
  }
  at("given").value = about.parameters.kind === "series"
    ? all.slice(0, length).map((step) => [step].flat().join(", ")).join("\n")
    : all.slice(0, length).join(" ");
  for (const column of columns()) field("beside", column.name).value = by[column.name][0] ?? "";
}
