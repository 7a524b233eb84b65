// Drawings: gates and attention on a canvas, series and forecasts as SVG, tags over tokens.
"use strict";
const COLOURS = ["#1f5fa8", "#b3541e", "#2b7a4b", "#7b3f98", "#a3201d", "#56707f", "#97801c", "#2a8c93"];
const SOFT = ["#cfe0f4", "#f6dcc8", "#cfeada", "#e5d3ee", "#f5d0cf", "#d8e1e7", "#efe7bf", "#cbeaec"];

const made = (tag, properties, ...inside) => {
  const found = Object.assign(document.createElement(tag), properties);
  found.append(...inside);
  return found;
};

const drawnAs = (tag, attributes, ...inside) => {
  const found = document.createElementNS(document.getElementById("blank").namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.append(...inside);
  return found;
};

const shown = (v) => typeof v === "number" ? String(Number(v.toPrecision(5))) : String(v);

function colour(value, share, largest) {
  const part = Math.max(-1, Math.min(1, value / largest));
  const mix = (to) => to.map((end) => Math.round(255 + (end - 255) * Math.abs(part)));
  return "rgb(" + mix(share || part < 0 ? [16, 66, 140] : [165, 25, 30]).join(",") + ")";
}

function canvasOf(width, height) {
  const canvas = made("canvas", {width, height});
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#1d2733";
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  return [canvas, pen];
}

// The names of steps above a drawing, slanted.
function above(pen, tokens, left, top, cell) {
  const every = Math.ceil(14 / cell);
  tokens.forEach((token, t) => {
    if (t % every) return;
    pen.save();
    pen.translate(left + (t + .5) * cell, top - 6);
    pen.rotate(-Math.PI / 3);
    pen.fillText(token.slice(0, 12), 0, 0);
    pen.restore();
  });
}

function frame(pen, left, top, width, height) {
  pen.strokeStyle = "#b9c4cf";
  pen.strokeRect(left - .5, top - .5, width + 1, height + 1);
}

const cellOf = (steps) => Math.max(4, Math.min(34, Math.floor(820 / steps)));

function gate(name, rows, tokens, cell) {
  const units = rows[0].length, high = Math.max(2, Math.min(8, Math.floor(160 / units)));
  const left = 56, top = tokens ? 74 : 6, below = 6;
  const [canvas, pen] = canvasOf(left + rows.length * cell + 40, top + units * high + below);
  canvas.dataset.gate = name;
  above(pen, tokens || [], left, top, cell);
  pen.font = "14px system-ui, sans-serif";
  pen.textAlign = "right";
  pen.fillText(name, left - 8, top + units * high / 2);
  const all = rows.flat(), low = all.reduce((a, b) => Math.min(a, b)), most = all.reduce((a, b) => Math.max(a, b));
  const share = low >= 0 && most <= 1, largest = share ? 1 : Math.max(1, most, -low);
  rows.forEach((row, t) => row.forEach((value, h) => {
    pen.fillStyle = colour(value, share, largest);
    pen.fillRect(left + t * cell, top + h * high, cell, high);
  }));
  frame(pen, left, top, rows.length * cell, units * high);
  return canvas;
}

// A row for each token that was written, a column for each of the source.
function attention({tokens, written, attention: weights}) {
  const cell = cellOf(tokens.length), high = Math.max(14, Math.min(24, cell)), left = 96, top = 74;
  const [canvas, pen] = canvasOf(left + tokens.length * cell + 40, top + written.length * high + 6);
  canvas.dataset.attention = written.length + " x " + tokens.length;
  above(pen, tokens, left, top, cell);
  pen.textAlign = "right";
  const largest = weights.flat().reduce((a, b) => Math.max(a, b), 1e-9);
  weights.forEach((row, t) => {
    pen.fillStyle = "#1d2733";
    pen.fillText(written[t].slice(0, 12), left - 8, top + (t + .5) * high);
    row.forEach((value, s) => {
      pen.fillStyle = colour(value, true, largest);
      pen.fillRect(left + s * cell, top + t * high, cell, high);
    });
  });
  frame(pen, left, top, tokens.length * cell, written.length * high);
  return canvas;
}

// Lines over steps. lines: [{name, from, values}], null is missing; band: {from, low, high} or null; ends: first and last name.
function chart(title, lines, band, ends) {
  const width = 860, height = 210, left = 64, top = 12, wide = width - left - 12, high = height - top - 34;
  const all = [...lines.flatMap((line) => line.values), ...(band ? [...band.low, ...band.high] : [])]
    .filter((v) => v !== null);
  const low = all.reduce((a, b) => Math.min(a, b), Infinity), most = all.reduce((a, b) => Math.max(a, b), -Infinity);
  const steps = Math.max(2, ...lines.map((line) => line.from + line.values.length));
  const x = (t) => left + wide * t / (steps - 1);
  const y = (v) => top + high * (most > low ? 1 - (v - low) / (most - low) : .5);
  const point = (t, v) => x(t).toFixed(1) + " " + y(v).toFixed(1);
  const text = (string, at, beside, anchor) =>
    drawnAs("text", {x: at, y: beside, "text-anchor": anchor, "font-size": 12, fill: "#51606f"}, string);
  const picture = drawnAs("svg", {width, height, role: "img", "aria-label": title});
  picture.dataset.chart = title;
  picture.append(drawnAs("rect", {x: left, y: top, width: wide, height: high, fill: "none", stroke: "#b9c4cf"}));
  if (all.length) picture.append(text(shown(most), left - 6, top + 10, "end"), text(shown(low), left - 6, top + high, "end"));
  picture.append(text(ends[0], left, height - 18, "start"), text(ends[1], left + wide, height - 18, "end"));
  if (band) {
    const there = band.low.map((v, t) => point(band.from + t, v));
    const back = band.high.map((v, t) => point(band.from + t, v)).reverse();
    picture.append(drawnAs("polygon", {points: [...there, ...back].join(", "), fill: "#f6dcc8", "data-band": band.name}));
  }
  lines.forEach((line, k) => {
    let pen = "M", path = "";
    line.values.forEach((v, t) => {
      if (v !== null) path += pen + point(line.from + t, v) + " ";
      pen = v === null ? "M" : "L";
    });
    const stroke = COLOURS[k % COLOURS.length];
    picture.append(drawnAs("path", {d: path, fill: "none", stroke, "stroke-width": 1.6, "data-line": line.name}));
    line.values.forEach((v, t) => {
      if (v !== null && steps <= 120) {
        const [cx, cy] = point(line.from + t, v).split(" ");
        picture.append(drawnAs("circle", {cx, cy, r: 1.8, fill: stroke}));
      }
    });
    if (lines.length <= 8) {
      const name = text(line.name, left + 8 + 110 * k, height - 3, "start");
      name.setAttribute("fill", stroke);
      picture.append(name);
    }
  });
  return picture;
}

// Each token with its tag below; a colour for each kind, B-PER and I-PER alike.
function tagged(tokens, tags, classes) {
  const kind = (tag) => tag.replace(/^[BIESLUM]-/, "");
  const kinds = [...new Set(classes.map(String).map(kind))].filter((one) => one !== "O");
  return made("div", {className: "tags"}, ...tokens.map((token, k) => {
    const part = made("span", {}, token, made("small", {}, tags[k]));
    part.dataset.tag = tags[k];
    const place = kinds.indexOf(kind(tags[k]));
    if (place >= 0) part.style.background = SOFT[place % SOFT.length];
    return part;
  }));
}

function bars(names, shares) {
  return shares.map((share, k) => {
    const bar = made("i", {});
    bar.style.width = (100 * share) + "%";
    return made("div", {className: "bar"}, made("span", {}, String(names[k])), bar,
      made("span", {}, (100 * share).toFixed(1) + " %"));
  });
}
