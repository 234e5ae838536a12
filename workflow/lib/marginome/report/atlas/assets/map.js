/* The map: a canvas of cells, side colours of labels above it, names where there is room. */

const heat = $('heat');
// eight that colour-blind readers tell apart (Okabe and Ito), then lighter and darker ones
const HUES = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#b8a900', '#7f7f7f'];
const SHADES = [1, 0.62, 1.4];
const STRIP = 12,
  MARK = 7; // least size of a cell that a mark fits into (px)
const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif';
let drawn = null; // what is on the canvas, and where
window.marginomeMap = () => drawn;

const numbersOf = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);

function hue(code) {
  if (code < 0) return colours.line;
  const base = HUES[code % HUES.length],
    shade = SHADES[Math.floor(code / HUES.length) % SHADES.length];
  const parts = [1, 3, 5].map((i) => parseInt(base.slice(i, i + 2), 16));
  const mixed = parts.map((v) => Math.round(shade > 1 ? v + (255 - v) * (shade - 1) : v * shade));
  return `rgb(${mixed.join(', ')})`;
}

/** Colours of effects from the lowest to the highest, 256 in full and 256 pale. */
function palette() {
  const [low, middle, high] = ['low', 'middle', 'high'].map((name) => numbersOf(colours[name]));
  const out = new Uint32Array(512);
  for (let i = 0; i < 256; i++) {
    const t = Math.abs(i - 127.5) / 127.5,
      end = i < 127.5 ? low : high;
    for (const [offset, share] of [
      [0, t],
      [256, 0.3 * t],
    ]) {
      const [r, g, b] = middle.map((v, c) => Math.round(v + (end[c] - v) * share));
      out[offset + i] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
  }
  return out;
}

function drawMap() {
  const began = performance.now(),
    { rows, columns, all } = view(),
    o = shownOutput(),
    ratio = window.devicePixelRatio || 1;
  const strips = labelNames.slice(0, 6);
  const wide = Math.max(320, $('map').clientWidth),
    most = Math.max(420, innerHeight - 220),
    named = rows.length * 11 <= most - 60,
    left = named ? Math.min(190, wide * 0.3) : Math.min(70, wide * 0.2),
    columnsNamed = columns.length * 12 <= wide - left,
    context = heat.getContext('2d');
  context.font = FONT;
  const longest = columnsNamed ? Math.max(...columns.map((m) => context.measureText(meta.models[m]).width), 0) : 0,
    top = strips.length * (STRIP + 2) + 4 + Math.min(110, longest && longest + 6),
    width = wide - left - 2,
    height = Math.min(most - top, Math.max(60, 24 * rows.length)),
    tall = top + height + 2;
  heat.width = wide * ratio;
  heat.height = tall * ratio;
  heat.style.width = `${wide}px`;
  heat.style.height = `${tall}px`;
  context.clearRect(0, 0, heat.width, heat.height);
  drawn = { rows, columns, left, top, width, height, cell: { x: width / columns.length, y: height / rows.length } };
  if (rows.length && columns.length) {
    paintCells(context, o, ratio);
    context.scale(ratio, ratio);
    paintSides(context, strips, columnsNamed, named);
    if (o.tested && drawn.cell.x >= MARK && drawn.cell.y >= MARK) paintMarks(context, o);
    paintChosen(context);
  }
  $('count').textContent =
    `${counted(rows.length)} of ${counted(F)} families, ${counted(columns.length)} of ${counted(M)} models`;
  const marks = o.tested
    ? `Full colour${drawn.cell.x >= MARK && drawn.cell.y >= MARK ? ' and a dot' : ''}: q at most ${meta.q_threshold} in ` +
      'every background set; pale: not found. '
    : '';
  const hidden = all.rows > rows.length || all.columns > columns.length ? 'Zoomed in. ' : '';
  $('map-note').textContent =
    `${hidden}Colour: effect of the family’s strongest insert, mean over background sets, from ` +
    `${format(-o.bright)} to ${format(o.bright)}${o.unit ? ` ${o.unit}` : ''}, beyond that as these. ${marks}` +
    'A click chooses; a click on a model’s name or side colour, or a double click on its chosen cell, opens its page.';
  $('scale-low').textContent = format(-o.bright, 2);
  $('scale-high').textContent = `${format(o.bright, 2)} ${o.unit}`;
  $('back').hidden = !state.window;
  drawLegend();
  window.marginomeTimes = { ...window.marginomeTimes, map: performance.now() - began };
}

/** Every cell as pixels; where several share one, the one that does most. */
function paintCells(context, o, ratio) {
  const { rows, columns, left, top, width, height } = drawn,
    w = Math.max(1, Math.floor(width * ratio)),
    h = Math.max(1, Math.floor(height * ratio)),
    image = context.createImageData(w, h),
    pixels = new Uint32Array(image.data.buffer),
    colour = palette(),
    scale = (o.most / 32766 / o.bright) * 127.5,
    [r, g, b] = numbersOf(colours.card),
    none = (255 << 24) | (b << 16) | (g << 8) | r;
  const x = Uint32Array.from({ length: columns.length + 1 }, (_, i) => Math.floor((i * w) / columns.length));
  const y = Uint32Array.from({ length: rows.length + 1 }, (_, i) => Math.floor((i * h) / rows.length));
  const line = new Uint32Array(w),
    size = new Int32Array(w);
  let last = -1;
  for (let i = 0; i < rows.length; i++) {
    if (y[i] !== last) size.fill(-1);
    last = y[i];
    const from = rows[i] * M;
    for (let j = 0; j < columns.length; j++) {
      const at = from + columns[j],
        v = o.effects[at],
        level = o.qs[at],
        pale = o.tested && !isFound(level),
        much = v === -32768 ? 0 : Math.abs(v) + (pale ? 0 : 32768);
      if (much < size[x[j]]) continue;
      const step = Math.max(0, Math.min(255, Math.round(127.5 + v * scale)));
      const c = v === -32768 ? none : colour[(pale ? 256 : 0) + step];
      const end = Math.max(x[j] + 1, x[j + 1]);
      for (let k = x[j]; k < end; k++) {
        line[k] = c;
        size[k] = much;
      }
    }
    const end = Math.max(y[i] + 1, y[i + 1]);
    for (let k = y[i]; k < end; k++) pixels.set(line, k * w);
  }
  context.putImageData(image, Math.round(left * ratio), Math.round(top * ratio));
}

function paintMarks(context, o) {
  const { rows, columns, left, top, cell } = drawn;
  context.fillStyle = colours.text;
  rows.forEach((f, i) =>
    columns.forEach((m, j) => {
      if (!isFound(levelOf(f, m, o))) return;
      context.beginPath();
      context.arc(left + (j + 0.5) * cell.x, top + (i + 0.5) * cell.y, Math.min(2.2, cell.x / 5), 0, 7);
      context.fill();
    }),
  );
}

function paintSides(context, strips, columnsNamed, named) {
  const { rows, columns, left, top, cell, width, height } = drawn;
  context.font = FONT;
  context.textBaseline = 'middle';
  strips.forEach((label, k) => {
    const above = top - (strips.length - k) * (STRIP + 2),
      { codes } = meta.labels[label];
    columns.forEach((m, j) => {
      context.fillStyle = hue(codes[m]);
      context.fillRect(left + j * cell.x, above, Math.max(1, cell.x + 0.5), STRIP);
    });
    context.fillStyle = label === state.label ? colours.text : colours.muted;
    context.textAlign = 'right';
    context.fillText(label, left - 5, above + STRIP / 2, left - 8);
  });
  context.fillStyle = colours.text;
  if (named) {
    context.textAlign = 'right';
    rows.forEach((f, i) => context.fillText(shortened(context, familyName(f), left - 10), left - 5, top + (i + 0.5) * cell.y));
  }
  if (columnsNamed)
    columns.forEach((m, j) => {
      context.save();
      context.translate(left + (j + 0.5) * cell.x, top - strips.length * (STRIP + 2) - 4);
      context.rotate(-Math.PI / 2);
      context.textAlign = 'left';
      context.fillText(shortened(context, meta.models[m], 100), 0, 0);
      context.restore();
    });
  context.strokeStyle = colours['line-strong'];
  context.strokeRect(left - 0.5, top - 0.5, width + 1, height + 1);
}

function shortened(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > room) end--;
  return `${text.slice(0, end)}…`;
}

function paintChosen(context) {
  const { rows, columns, left, top, cell } = drawn,
    i = rows.indexOf(state.family),
    j = columns.indexOf(state.chosen);
  context.strokeStyle = colours.text;
  context.lineWidth = 1.5;
  if (i >= 0) context.strokeRect(left, top + i * cell.y, drawn.width, Math.max(2, cell.y));
  if (j >= 0) context.strokeRect(left + j * cell.x, top, Math.max(2, cell.x), drawn.height);
}

/** Where a place on the canvas is: a cell, or a model above the cells, or a family beside them. */
function placeAt(event) {
  const box = heat.getBoundingClientRect(),
    x = event.clientX - box.left - drawn.left,
    y = event.clientY - box.top - drawn.top,
    column = Math.floor(x / drawn.cell.x),
    row = Math.floor(y / drawn.cell.y);
  return {
    x,
    y,
    row,
    column,
    family: row >= 0 && row < drawn.rows.length && x < drawn.width ? drawn.rows[row] : -1,
    model: column >= 0 && column < drawn.columns.length && y < drawn.height ? drawn.columns[column] : -1,
  };
}
