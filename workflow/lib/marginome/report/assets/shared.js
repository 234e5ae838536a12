/* What the interactive pages share: what a page was given, numbers as text, elements, colours, charts. */

const $ = (id) => document.getElementById(id);
const meta = JSON.parse($('meta').textContent);

async function unpack(id, directory) {
  const text = $(id).textContent;
  let bytes;
  if (Uint8Array.fromBase64) {
    bytes = Uint8Array.fromBase64(text);
  } else {
    const raw = atob(text);
    bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const block = new Uint8Array(await new Response(stream).arrayBuffer());
  const types = { f4: Float32Array, i2: Int16Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };
  const arrays = {};
  for (const [name, { kind, offset, count }] of Object.entries(directory)) {
    const Type = types[kind];
    const size = Type.BYTES_PER_ELEMENT;
    const out = new Uint8Array(count * size);
    for (let plane = 0; plane < size; plane++) {
      const start = offset + plane * count;
      for (let i = 0; i < count; i++) out[i * size + plane] = block[start + i];
    }
    arrays[name] = new Type(out.buffer);
  }
  return arrays;
}

const MINUS = '\u2212';
const signs = (text) => text.replaceAll('-', MINUS);

function format(x, digits = 3) {
  if (x === null || x === undefined || Number.isNaN(x)) return '';
  if (x === 0) return '0';
  const size = Math.abs(x);
  if (size >= 1e5 || size < 1e-3) return signs(x.toExponential(digits - 1).replace('e+', 'e'));
  return signs(size >= 1000 ? x.toFixed(0) : x.toPrecision(digits));
}

const signed = (x, digits = 3) => (x > 0 ? '+' : '') + format(x, digits);

function formatLog(exponent) {
  // of a number kept as log10
  if (Number.isNaN(exponent)) return '';
  if (exponent === -Infinity) return '0';
  if (exponent > -3) return format(10 ** exponent, 2);
  let whole = Math.floor(exponent);
  if (10 ** (exponent - whole) >= 9.95) whole += 1; // 9.99e-4 is 1.0e-3, not 10.0e-4
  return `${(10 ** (exponent - whole)).toFixed(1)}e${signs(String(whole))}`;
}

const counted = (n) => n.toLocaleString('en-US');

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, v] of Object.entries(properties)) key in made ? (made[key] = v) : made.setAttribute(key, v);
  made.append(...children.filter((c) => c !== null && c !== undefined));
  return made;
}

function select(options, chosen, label, onchange) {
  const made = element(
    'select',
    { ariaLabel: label },
    ...options.map(([v, text]) => element('option', { value: v, selected: v === chosen }, text)),
  );
  made.addEventListener('change', () => onchange(made.value));
  return made;
}

const paint = document.createElement('span'); // canvases need resolved colours
paint.hidden = true;
document.body.append(paint);
let colours = {};

function readColours() {
  for (const name of [
    'A',
    'C',
    'G',
    'T',
    'text',
    'muted',
    'line',
    'line-strong',
    'up',
    'down',
    'null',
    'card',
    'accent',
    'accent-soft',
    'control',
    'sunken',
    'low',
    'middle',
    'high',
  ]) {
    paint.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(paint).color;
  }
}

readColours();

const charts = new Map();

function chart(node, option, height) {
  node.style.height = `${height}px`;
  let made = charts.get(node);
  if (made && made.isDisposed()) made = null;
  if (!made) {
    made = echarts.init(node, null, { renderer: 'canvas' });
    charts.set(node, made);
  } else made.resize();
  made.setOption(
    {
      animation: false,
      textStyle: { fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif' },
      ...option,
    },
    true,
  );
  return made;
}

const axis = (name, extra = {}) => ({
  name,
  nameLocation: 'middle',
  nameGap: 26,
  nameTextStyle: { color: colours.muted, fontSize: 12 },
  axisLabel: {
    color: colours.muted,
    fontSize: 11,
    hideOverlap: true,
    formatter: (v) => signs(String(Number(v.toPrecision(10)))),
  },
  axisLine: { show: true, lineStyle: { color: colours['line-strong'] } },
  axisTick: { show: false },
  splitLine: { lineStyle: { color: colours.line, opacity: 0.6 } },
  scale: true,
  ...extra,
});

/** A tooltip made of text nodes: nothing in a name is read as markup. */
function tip(title, lines) {
  const box = element('div', {}, element('b', {}, title));
  for (const line of lines) if (line) box.append(element('div', {}, line));
  return box;
}

const tipStyle = () => ({
  backgroundColor: colours.card,
  borderColor: colours['line-strong'],
  textStyle: { color: colours.text, fontSize: 12 },
  extraCssText: 'max-width: 340px; white-space: normal; overflow-wrap: anywhere;',
  confine: true,
});
