'use strict';
/* The page of one screen: reads the packed table, filters and sorts it, draws what is chosen. Charts are ECharts'. */
(async () => {
  const $ = (id) => document.getElementById(id);
  const meta = JSON.parse($('meta').textContent);

  // ------------------------------------------------------------------------------------- unpacking
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

  const arrays = await unpack('table-data', meta.arrays);
  const columns = new Map(meta.columns.map((c) => [c.name, { ...c, data: arrays[c.name] }]));
  const has = (name) => columns.has(name);
  const N = arrays['#insert'].length;
  const insertOf = arrays['#insert'], siteOf = arrays['#site'], motifOf = arrays['#motif'];

  const number = (name, row) => { const c = columns.get(name); return c ? c.data[row] : NaN; };
  const code = (name, row) => { const c = columns.get(name); return c ? c.data[row] : 0; };
  const levels = (name) => columns.get(name)?.levels ?? [];
  const known = new Map(); // whether a column has any value at all
  const given = (name) => {
    const c = columns.get(name);
    if (!known.has(name)) known.set(name, !!c && (c.kind === 'text' ? c.levels.some((v) => v !== null) : c.data.some((v) => v === v)));
    return known.get(name);
  };

  /** Rows grouped by a code: rowsOf(code) is a view of row numbers. */
  function grouped(codes) {
    let groups = 0;
    for (const c of codes) if (c >= groups) groups = c + 1;
    const start = new Uint32Array(groups + 1);
    for (const c of codes) start[c + 1]++;
    for (let g = 0; g < groups; g++) start[g + 1] += start[g];
    const rows = new Uint32Array(codes.length), next = start.slice();
    for (let i = 0; i < codes.length; i++) rows[next[codes[i]]++] = i;
    const of = (g) => rows.subarray(start[g], start[g + 1]);
    of.groups = groups;
    return of;
  }
  const rowsOfInsert = grouped(insertOf), rowsOfMotif = grouped(motifOf);
  const pwmStart = [0];
  for (const w of meta.pwm_widths) pwmStart.push(pwmStart.at(-1) + 4 * w);
  const pwmOf = (motif) => ({ width: meta.pwm_widths[motif], p: arrays['#pwm'].subarray(pwmStart[motif], pwmStart[motif + 1]) });

  // --------------------------------------------------------------------------------------- numbers
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
  function formatLog(exponent) { // of a number kept as log10
    if (Number.isNaN(exponent)) return '';
    if (exponent === -Infinity) return '0';
    if (exponent > -3) return format(10 ** exponent, 2);
    const whole = Math.floor(exponent);
    return `${(10 ** (exponent - whole)).toFixed(1)}e${signs(String(whole))}`;
  }
  const counted = (n) => n.toLocaleString('en-US');
  function show(name, row, digits) {
    const column = columns.get(name);
    if (!column) return '';
    if (column.kind === 'text') return column.levels[column.data[row]] ?? '';
    if (column.kind === 'log10') return formatLog(column.data[row]);
    if (column.kind === 'whole') return Number.isNaN(column.data[row]) ? '' : signs(String(column.data[row]));
    return format(column.data[row], digits);
  }
  function exact(name, row) { // for the download: six digits
    const column = columns.get(name);
    if (column.kind === 'text') return (column.levels[column.data[row]] ?? '').replace(/[\t\r\n]/g, ' ');
    const x = column.data[row];
    if (Number.isNaN(x)) return '';
    if (column.kind === 'whole') return String(x);
    if (column.kind === 'number') return String(Number(x.toPrecision(6)));
    if (x === -Infinity) return '0';
    const whole = Math.floor(x);
    return x === 0 ? '1' : x > -5 ? String(Number((10 ** x).toPrecision(5))) : `${(10 ** (x - whole)).toFixed(4)}e${whole}`;
  }

  const rowName = (row) => show('motif_name', row) || show('motif_id', row);
  function rowLabel(row) {
    const parts = [rowName(row)];
    if (given('partner_id')) parts.push(`with ${show('partner_id', row) || '?'} ${show('partner_orientation', row)} gap ${show('gap', row)}`);
    if (given('draw')) parts.push(`draw ${show('draw', row)}`);
    return `${parts.join(' ')} (${signs(show('orientation', row))})`;
  }
  // the unit of before and after is the effect's where the effect is their difference
  const outputUnit = (row) => (show('measure', row) === 'difference' && show('unit', row) ? ` (${show('unit', row)})` : ` (${show('output', row)})`);
  const effectTitle = (row) => { const unit = show('unit', row); return unit || show('measure', row) || 'effect'; };

  // ----------------------------------------------------------------------------------------- state
  const FILTERS = ['model', 'output', 'background', 'orientation', 'family'];
  const state = { search: '', q: null, reps: false, sort: 'effect', dir: 'desc', tab: 'rank', colour: '', pair: '', row: -1 };
  const initial = {};
  for (const name of FILTERS) initial[name] = '';
  if (levels('output').length > 1) initial.output = levels('output')[0];
  if (levels('background').length > 1) initial.background = levels('background')[0];
  if (levels('model').length > 1) initial.model = levels('model')[0];
  Object.assign(state, initial);
  const threshold = () => state.q ?? meta.q_threshold;

  const KEY = ['model', 'background', 'output', 'collection', 'motif_id', 'orientation', 'start', 'insert', 'draw', 'partner_id', 'partner_orientation', 'gap', 'order']
    .filter((name) => has(name) && (name === 'motif_id' || name === 'orientation' || (columns.get(name).kind === 'text' ? levels(name).length > 1 : columns.get(name).data.some((v) => v !== columns.get(name).data[0] && v === v))));

  function writeHash() {
    const out = new URLSearchParams();
    for (const name of FILTERS) if (state[name] !== initial[name]) out.set(name, state[name]);
    if (state.search) out.set('search', state.search);
    if (state.q !== null) out.set('q', state.q);
    if (state.reps) out.set('reps', '1');
    if (state.sort !== 'effect' || state.dir !== 'desc') out.set('sort', `${state.sort} ${state.dir}`);
    if (state.tab !== 'rank') out.set('figure', state.tab);
    if (state.colour) out.set('colour', state.colour);
    if (state.pair) out.set('pair', state.pair);
    if (state.row >= 0) for (const name of KEY) out.set(`row.${name}`, exact(name, state.row));
    const hash = '#' + out;
    if (hash !== location.hash) history.replaceState(null, '', hash);
  }
  function readHash() {
    const asked = new URLSearchParams(location.hash.slice(1));
    Object.assign(state, initial, { search: '', q: null, reps: false, sort: 'effect', dir: 'desc', tab: 'rank', colour: '', pair: '', row: -1 });
    for (const name of FILTERS) {
      const wanted = asked.get(name);
      if (wanted !== null && (wanted === '' || filterLevels(name).includes(wanted))) state[name] = wanted;
    }
    state.search = asked.get('search') ?? '';
    const q = parseFloat(asked.get('q'));
    state.q = q >= 0 && q <= 1 ? q : null;
    state.reps = asked.get('reps') === '1';
    const [sort, dir] = (asked.get('sort') ?? 'effect desc').split(' ');
    if (has(sort)) Object.assign(state, { sort, dir: ['asc', 'desc', 'size'].includes(dir) ? dir : 'desc' });
    state.tab = TABS.some(([id]) => id === asked.get('figure')) ? asked.get('figure') : 'rank';
    state.colour = asked.get('colour') ?? '';
    state.pair = asked.get('pair') ?? '';
    if (asked.has('row.motif_id')) {
      const tests = KEY.filter((name) => asked.has(`row.${name}`)).map((name) => {
        const wanted = asked.get(`row.${name}`), column = columns.get(name);
        const target = column.kind === 'text' ? column.levels.findIndex((v) => (v ?? '').replace(/[\t\r\n]/g, ' ') === wanted) : wanted === '' ? NaN : Number(wanted);
        return [column.data, target];
      });
      for (let row = 0; row < N; row++) {
        if (tests.every(([data, target]) => data[row] === target || (target !== target && data[row] !== data[row]))) { state.row = row; break; }
      }
    }
  }

  // -------------------------------------------------------------------------------------- filtering
  const filterLevels = (name) => {
    const column = columns.get(name);
    if (!column) return [];
    if (column.kind === 'text') return column.levels.map((v) => v ?? '');
    return [...new Set(column.data)].filter((v) => v === v).sort((a, b) => a - b).map(String);
  };
  const haystack = (() => { // searched per insert, not per row: there are as many rows per insert as outputs x backgrounds
    const fields = ['motif_name', 'motif_id', 'collection', 'insert', 'partner_id'].filter(has);
    return Array.from({ length: rowsOfInsert.groups }, (_, g) => {
      const row = rowsOfInsert(g)[0];
      return fields.map((f) => show(f, row)).join('\n').toLowerCase();
    });
  })();

  const orders = new Map(); // one sorted order of all rows per column: filtering only walks along it
  function order() {
    const key = `${state.sort} ${state.dir}`;
    if (orders.has(key)) return orders.get(key);
    const column = columns.get(state.sort);
    let keys = column.data;
    if (column.kind === 'text') {
      const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });
      const ranked = column.levels.map((v, i) => [v ?? '\uffff', i]).sort((a, b) => collator.compare(a[0], b[0]));
      const rank = new Float32Array(ranked.length);
      ranked.forEach(([, i], r) => { rank[i] = r; });
      keys = Float32Array.from(column.data, (c) => rank[c]);
    } else if (state.dir === 'size') keys = column.data.map(Math.abs);
    const rows = new Uint32Array(N);
    let known = 0, unknown = N;
    for (let i = 0; i < N; i++) if (keys[i] === keys[i]) rows[known++] = i; else rows[--unknown] = i;
    const down = state.dir !== 'asc';
    rows.subarray(0, known).sort(down ? (a, b) => keys[b] - keys[a] || a - b : (a, b) => keys[a] - keys[b] || a - b);
    orders.set(key, rows);
    return rows;
  }

  let view = new Uint32Array(0); // row numbers shown, in order
  function matcher(skip = '') { // -> test of one row against every filter but `skip`
    const tests = [];
    for (const name of FILTERS) {
      if (state[name] === '' || name === skip || !has(name)) continue;
      const column = columns.get(name);
      const target = column.kind === 'text' ? column.levels.findIndex((v) => (v ?? '') === state[name]) : Number(state[name]);
      tests.push([column.data, target]);
    }
    const q = state.q === null || !given('q') ? null : Math.log10(state.q);
    const qs = columns.get('q')?.data;
    let hits = null;
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) {
      hits = new Uint8Array(haystack.length);
      for (let g = 0; g < hits.length; g++) hits[g] = words.every((w) => haystack[g].includes(w)) ? 1 : 0;
    }
    const reps = state.reps && has('family_representative');
    const representative = columns.get('family_representative'), motif = columns.get('motif_id');
    const same = reps ? representative.levels.map((v) => motif.levels.indexOf(v)) : [];
    return (row) => {
      for (let t = 0; t < tests.length; t++) if (tests[t][0][row] !== tests[t][1]) return false;
      if (hits && !hits[insertOf[row]]) return false;
      if (q !== null && !(qs[row] <= q + 1e-6)) return false;
      if (reps && same[representative.data[row]] !== motif.data[row]) return false;
      return true;
    };
  }
  function filter() {
    const rows = order(), test = matcher(), out = new Uint32Array(N);
    let k = 0;
    for (let i = 0; i < N; i++) if (test(rows[i])) out[k++] = rows[i];
    view = out.subarray(0, k);
  }

  // ------------------------------------------------------------------------------------------ logos
  const paint = document.createElement('span'); // canvases need resolved colours
  paint.hidden = true;
  document.body.append(paint);
  let colours = {};
  function readColours() {
    for (const name of ['A', 'C', 'G', 'T', 'text', 'muted', 'line', 'line-strong', 'up', 'down', 'null', 'card', 'accent', 'control', 'sunken', 'low', 'middle', 'high']) {
      paint.style.color = `var(--${name})`;
      colours[name] = getComputedStyle(paint).color;
    }
  }
  readColours();
  const glyphs = (() => { // each letter's ink box at 100 px, to stretch it to the height it stands for
    const context = document.createElement('canvas').getContext('2d');
    context.font = 'bold 100px Arial, Helvetica, "Liberation Sans", sans-serif';
    return Object.fromEntries([...'ACGT'].map((letter) => {
      const m = context.measureText(letter);
      return [letter, { left: -m.actualBoundingBoxLeft, width: m.actualBoundingBoxRight + m.actualBoundingBoxLeft, ascent: m.actualBoundingBoxAscent, height: m.actualBoundingBoxAscent + m.actualBoundingBoxDescent }];
    }));
  })();
  function letter(context, base, x, top, width, height) {
    if (height < 0.4) return;
    const g = glyphs[base];
    context.save();
    context.fillStyle = colours[base];
    context.translate(x, top);
    context.scale(width / g.width, height / g.height);
    context.font = 'bold 100px Arial, Helvetica, "Liberation Sans", sans-serif';
    context.fillText(base, -g.left, g.ascent);
    context.restore();
  }
  function canvasOf(width, height, label) {
    const canvas = document.createElement('canvas'), ratio = Math.max(1, Math.min(devicePixelRatio || 1, 3));
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    if (label) { canvas.setAttribute('role', 'img'); canvas.setAttribute('aria-label', label); } else canvas.setAttribute('aria-hidden', 'true');
    const context = canvas.getContext('2d');
    context.scale(ratio, ratio);
    return [canvas, context];
  }
  /** Information content logo (0 to 2 bits), reverse complemented for orientation -. */
  function logo(motif, orientation, width, height, label) {
    const [canvas, context] = canvasOf(width, height, label);
    const { width: w, p } = pwmOf(motif);
    if (!w) return canvas;
    const step = Math.min(width / w, height * 0.8), reverse = orientation === '-';
    for (let i = 0; i < w; i++) {
      const column = [];
      let total = 0;
      for (let b = 0; b < 4; b++) total += p[4 * (reverse ? w - 1 - i : i) + (reverse ? 3 - b : b)];
      if (!total) continue;
      let bits = 2;
      for (let b = 0; b < 4; b++) {
        const share = p[4 * (reverse ? w - 1 - i : i) + (reverse ? 3 - b : b)] / total;
        if (share > 0) bits += share * Math.log2(share);
        column.push([share, 'ACGT'[b]]);
      }
      column.sort((a, b) => a[0] - b[0]);
      let base = height;
      for (const [share, which] of column) {
        const tall = share * bits / 2 * height;
        letter(context, which, i * step + 0.03 * step, base - tall, 0.94 * step, tall);
        base -= tall;
      }
    }
    return canvas;
  }

  // ------------------------------------------------------------------------------------------ table
  const ROW = 40;
  const narrow = () => innerWidth <= 640;
  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, v] of Object.entries(properties)) key in made ? (made[key] = v) : made.setAttribute(key, v);
    made.append(...children.filter((c) => c !== null && c !== undefined));
    return made;
  }
  const varies = (name) => has(name) && (name !== 'start' || meta.positions) && (columns.get(name).kind === 'text' ? levels(name).length > 1 : filterLevels(name).length > 1);
  function shownColumns() {
    const list = [{ id: '#logo', title: 'Logo', plain: true }, { id: 'motif_name', title: 'Motif' }];
    if (!has('motif_name')) list[1].id = 'motif_id';
    list.push({ id: 'orientation', title: 'Strand', minor: true });
    for (const name of ['model', 'output', 'background', 'start', 'gap', 'draw']) if (varies(name) && (!FILTERS.includes(name) || state[name] === '')) list.push({ id: name, title: { model: 'Model', output: 'Output', background: 'Background', start: 'Start', gap: 'Gap', draw: 'Draw' }[name], num: columns.get(name).kind !== 'text', minor: true });
    list.push({ id: 'effect', title: 'Effect', num: true });
    for (const [name, title] of [['q', 'q'], ['z', 'z'], ['interaction', 'Interaction']]) if (given(name)) list.push({ id: name, title, num: true, minor: name !== 'q' });
    if (given('ci_low')) list.push({ id: 'ci_low', title: '95 % interval', minor: true, ci: true });
    if (given('family')) list.push({ id: 'family', title: 'Family', minor: true });
    if (given('sign_consistency')) list.push({ id: 'sign_consistency', title: 'Same sign', num: true, minor: true });
    return list;
  }
  const SIZED = new Set(['effect', 'z', 'interaction']); // also sorted by absolute value
  let shown = [];
  function drawHead() {
    shown = shownColumns();
    const row = element('tr');
    shown.forEach((column, i) => {
      const cell = element('th', { scope: 'col', className: `${column.num ? 'num ' : ''}${column.minor ? 'minor ' : ''}${column.plain ? 'plain' : ''}` });
      cell.setAttribute('aria-colindex', i + 1);
      if (column.plain) cell.textContent = column.title;
      else {
        const active = state.sort === column.id;
        cell.setAttribute('aria-sort', !active ? 'none' : state.dir === 'asc' ? 'ascending' : 'descending');
        const arrow = !active ? '' : state.dir === 'asc' ? '▲' : state.dir === 'desc' ? '▼' : '▼ size';
        const button = element('button', { type: 'button', title: `${meta.help[column.id] ?? ''} Click to sort.`.trim() }, column.title, element('span', { className: 'arrow' }, arrow));
        button.addEventListener('click', () => {
          const cycle = column.num || column.ci ? (SIZED.has(column.id) ? ['desc', 'asc', 'size'] : ['q', 'p'].includes(column.id) ? ['asc', 'desc'] : ['desc', 'asc']) : ['asc', 'desc'];
          state.dir = active ? cycle[(cycle.indexOf(state.dir) + 1) % cycle.length] : cycle[0];
          state.sort = column.id;
          update({ keepRow: true });
          $('thead').querySelectorAll('th')[i]?.querySelector('button')?.focus();
        });
        cell.append(button);
      }
      row.append(cell);
    });
    $('thead').replaceChildren(row);
  }
  function cell(column, row) {
    const out = element('td', { className: `${column.num ? 'num ' : ''}${column.minor ? 'minor ' : ''}` });
    if (column.id === '#logo') {
      const w = pwmOf(motifOf[row]).width;
      out.append(logo(motifOf[row], show('orientation', row), Math.min(narrow() ? 84 : innerWidth <= 1400 ? 100 : 124, Math.max(40, w * 9)), 32));
    } else if (column.id === 'motif_name' || column.id === 'motif_id') {
      out.append(element('span', { className: 'strong' }, rowName(row)));
      const id = show('motif_id', row);
      if (id !== rowName(row)) out.append(element('span', { className: 'id' }, id));
      if (given('partner_id') && show('partner_id', row)) out.append(element('span', { className: 'id' }, `+ ${show('partner_id', row)}`));
      if (has('insert')) out.append(element('span', { className: 'insert' }, show('insert', row)));
      out.title = `${rowName(row)} ${id}${has('insert') ? `\n${show('insert', row)}` : ''}`;
    } else if (column.id === 'effect' || column.id === 'interaction' || column.id === 'z') {
      const x = number(column.id, row);
      out.textContent = signed(x);
      if (column.id === 'effect') out.classList.add('strong', significant(row) ? (x > 0 ? 'up' : 'down') : 'plain');
      out.title = column.id === 'effect' ? effectTitle(row) : '';
    } else if (column.ci) {
      out.classList.add('ci');
      out.textContent = Number.isNaN(number('ci_low', row)) ? '' : `${signed(number('ci_low', row))} to ${signed(number('ci_high', row))}`;
    } else if (column.id === 'sign_consistency') out.textContent = Number.isNaN(number(column.id, row)) ? '' : `${Math.round(100 * number(column.id, row))} %`;
    else if (column.id === 'family') { out.classList.add('family'); out.textContent = familyName(show('family', row)); out.title = out.textContent; }
    else if (column.id === 'orientation') out.textContent = signs(show('orientation', row));
    else { out.textContent = show(column.id, row); out.title = out.textContent; }
    return out;
  }
  const hasQ = given('q');
  const oneSided = levels('measure').map((m) => ['euclidean', 'jensen_shannon_distance'].includes(m));
  function significant(row) {
    if (hasQ) return number('q', row) <= Math.log10(threshold()) + 1e-6;
    if (oneSided[code('measure', row)]) return false; // a distance is never below 0: without controls its interval says nothing
    const low = number('ci_low', row), high = number('ci_high', row);
    return low > 0 || high < 0;
  }
  const rule = () => (hasQ ? `q ≤ ${threshold()}` : '95 % interval excludes 0');

  const scroller = $('table');
  let drawn = '';
  function drawRows(force) {
    const top = scroller.scrollTop, head = $('thead').offsetHeight;
    const first = Math.max(0, Math.floor(top / ROW) - 4), last = Math.min(view.length, Math.ceil((top + scroller.clientHeight - head) / ROW) + 4);
    const key = `${first} ${last}`;
    if (!force && key === drawn) return;
    drawn = key;
    const pad = (rows, id) => { const td = element('td', { colSpan: shown.length }); td.style.height = `${rows * ROW}px`; const tr = element('tr', { className: 'pad' }, td); tr.setAttribute('aria-hidden', 'true'); tr.dataset.pad = id; return tr; };
    const out = [pad(first, 'top')];
    for (let i = first; i < last; i++) {
      const row = view[i];
      const tr = element('tr', { className: 'row', id: `row-${row}` }, ...shown.map((c) => cell(c, row)));
      tr.dataset.position = i;
      tr.setAttribute('aria-rowindex', i + 2);
      tr.setAttribute('aria-selected', row === state.row);
      out.push(tr);
    }
    out.push(pad(view.length - last, 'bottom'));
    $('tbody').replaceChildren(...out);
    scroller.querySelector('table').setAttribute('aria-rowcount', view.length + 1);
  }
  let waiting = false;
  scroller.addEventListener('scroll', () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; drawRows(); });
  }, { passive: true });
  const positionOf = (row) => view.indexOf(row);
  function reveal(position) {
    const head = $('thead').offsetHeight, top = position * ROW, room = scroller.clientHeight - head;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + ROW > scroller.scrollTop + room) scroller.scrollTop = top + ROW - room;
  }
  $('tbody').addEventListener('click', (event) => {
    const tr = event.target.closest('tr.row');
    if (tr) choose(view[tr.dataset.position], { jump: true });
  });
  scroller.addEventListener('keydown', (event) => {
    if (event.target !== scroller) return;
    const page = Math.max(1, Math.floor(scroller.clientHeight / ROW) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in moves && view.length) {
      event.preventDefault();
      const at = positionOf(state.row);
      const next = at < 0 ? 0 : Math.min(view.length - 1, Math.max(0, at + moves[event.key]));
      choose(view[next]);
      reveal(next);
    } else if (event.key === 'Enter') {
      event.preventDefault();
      $('detail').focus();
      $('detail').scrollIntoView({ block: 'nearest' });
    }
  });

  // ---------------------------------------------------------------------------------------- figures
  const charts = new Map();
  function chart(node, option, height) {
    node.style.height = `${height}px`;
    let made = charts.get(node);
    if (made && made.isDisposed()) made = null;
    if (!made) { made = echarts.init(node, null, { renderer: 'canvas' }); charts.set(node, made); } else made.resize();
    made.setOption({ animation: false, textStyle: { fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif' }, ...option }, true);
    return made;
  }
  const axis = (name, extra = {}) => ({
    name, nameLocation: 'middle', nameGap: 26, nameTextStyle: { color: colours.muted, fontSize: 12 }, axisLabel: { color: colours.muted, fontSize: 11, hideOverlap: true, formatter: (v) => signs(String(Number(v.toPrecision(10)))) },
    axisLine: { show: true, lineStyle: { color: colours['line-strong'] } }, axisTick: { show: false }, splitLine: { lineStyle: { color: colours.line, opacity: 0.6 } }, scale: true, ...extra,
  });
  /** A tooltip made of text nodes: nothing in a name is read as markup. */
  function tip(title, lines) {
    const box = element('div', {}, element('b', {}, title));
    for (const line of lines) if (line) box.append(element('div', {}, line));
    return box;
  }
  const tipStyle = () => ({ backgroundColor: colours.card, borderColor: colours['line-strong'], textStyle: { color: colours.text, fontSize: 12 }, extraCssText: 'max-width: 340px; white-space: normal; overflow-wrap: anywhere;', confine: true });
  const rowTip = (row) => tip(rowLabel(row), [
    show('motif_id', row), [show('model', row), show('output', row), show('background', row)].filter(Boolean).join(' · '),
    `effect ${signed(number('effect', row))} ${effectTitle(row)}`, given('z') ? `z ${signed(number('z', row))}` : '', hasQ ? `q ${show('q', row)}` : '',
  ]);
  function pngButton(name) {
    return { right: 0, top: -4, itemSize: 13, iconStyle: { borderColor: colours.muted }, feature: { dataZoom: { title: { zoom: 'Zoom by dragging', back: 'Zoom back' }, filterMode: 'none' }, saveAsImage: { name: `${meta.name}.${name}`, title: 'Save as PNG', backgroundColor: colours.card, pixelRatio: 3 } } };
  }
  const anyOutput = (name) => filterLevels(name).length > 1;
  const DIMENSIONS = ['background', 'orientation', 'output', 'model'].filter(anyOutput);
  const TABS = [['rank', 'Rank'], ...(hasQ || given('p') ? [['volcano', 'Volcano']] : []), ...(DIMENSIONS.length ? [['agreement', 'Agreement']] : []), ...(anyOutput('output') || anyOutput('background') || anyOutput('model') ? [['heatmap', 'Heatmap']] : [])];

  function scatter(node, points, xAxis, yAxis, { lines = [], labels = [], name }) {
    // points: {rows, xy} in three groups; thousands of points are drawn in ECharts' large mode
    named = new Set(labels.map((l) => l.motif));
    const total = points.reduce((sum, g) => sum + g.rows.length, 0), size = total > 20000 ? 2.5 : total > 3000 ? 4 : 6;
    const series = points.map((group) => ({
      type: 'scatter', name: group.name, data: group.xy, dimensions: ['x', 'y'], large: true, largeThreshold: 1000, symbolSize: size,
      itemStyle: { color: group.colour, opacity: group.opacity }, emphasis: { scale: 1.5 }, z: group.z,
    }));
    series[0].markLine = { silent: true, symbol: 'none', label: { show: false }, lineStyle: { color: colours['line-strong'], type: 'dashed' }, data: lines };
    series.push({ type: 'scatter', name: '', data: labels, symbolSize: 1, silent: true, itemStyle: { color: 'transparent' }, z: 8, label: { show: true, position: 'right', distance: 8, color: colours.text, textBorderColor: colours.card, textBorderWidth: 3, fontSize: 11, formatter: (p) => p.data.text } });
    series.push({ type: 'scatter', name: ' ', id: 'chosen', data: chosenPoint(), symbolSize: 13, silent: true, z: 9, itemStyle: { color: 'transparent', borderColor: colours.text, borderWidth: 2 }, label: { show: true, position: 'top', fontWeight: 'bold', color: colours.text, backgroundColor: colours.card, padding: [1, 4], borderRadius: 3, formatter: (p) => p.data.text ?? '' } });
    const made = chart(node, {
      grid: { left: 58, right: 22, top: 38, bottom: 44 }, xAxis, yAxis, series,
      legend: { data: points.filter((g) => g.rows.length).map((g) => ({ name: g.name, icon: 'circle' })), left: 4, top: 0, itemWidth: 10, itemHeight: 10, textStyle: { color: colours.muted, fontSize: 12 }, inactiveColor: colours.line },
      tooltip: { trigger: 'item', ...tipStyle(), formatter: (p) => (points[p.seriesIndex] ? rowTip(points[p.seriesIndex].rows[p.dataIndex]) : '') },
      toolbox: pngButton(name), aria: { enabled: false },
    }, 330);
    made.off('click');
    made.on('click', (p) => { const group = points[p.seriesIndex]; if (group) choose(group.rows[p.dataIndex], { reveal: true, jump: true }); });
    return made;
  }
  function groupsOf(rows, xy) { // split rows into not significant, lower, higher
    const parts = [{ name: hasQ ? `q > ${threshold()}` : '95 % interval holds 0', colour: colours.null, opacity: 0.55, z: 2 }, { name: 'lower', colour: colours.down, opacity: 0.85, z: 3 }, { name: 'higher', colour: colours.up, opacity: 0.85, z: 3 }];
    const lists = [[], [], []];
    for (let i = 0; i < rows.length; i++) {
      if (xy[2 * i] !== xy[2 * i] || xy[2 * i + 1] !== xy[2 * i + 1]) continue;
      lists[!significant(rows[i]) ? 0 : number('effect', rows[i]) > 0 ? 2 : 1].push(i);
    }
    return parts.map((part, g) => {
      const out = new Float64Array(2 * lists[g].length);
      lists[g].forEach((i, k) => { out[2 * k] = xy[2 * i]; out[2 * k + 1] = xy[2 * i + 1]; });
      return { ...part, name: `${part.name} (${counted(lists[g].length)})`, rows: lists[g].map((i) => rows[i]), xy: out };
    });
  }
  /** One label per motif, the strongest first. */
  function labelled(rows, xy, most = 6) {
    const seen = new Set(), out = [];
    const best = [...rows.keys()].filter((i) => xy[2 * i] === xy[2 * i] && xy[2 * i + 1] === xy[2 * i + 1]).sort((a, b) => Math.abs(number('effect', rows[b])) - Math.abs(number('effect', rows[a])));
    for (const i of best) {
      if (seen.has(motifOf[rows[i]])) continue;
      seen.add(motifOf[rows[i]]);
      out.push({ value: [xy[2 * i], xy[2 * i + 1]], text: rowName(rows[i]), motif: motifOf[rows[i]], i });
      if (out.length >= most) break;
    }
    const named = out.map((l) => l.text); // motifs of one name are told apart by identifier
    out.forEach((l) => { if (named.filter((t) => t === l.text).length > 1) l.text = `${l.text} ${show('motif_id', rows[l.i])}`; });
    // names of points on the right go to their left, or the edge would cut them; names at one height are moved apart
    const ends = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < xy.length; i++) { const k = 2 * (i % 2); if (xy[i] < ends[k]) ends[k] = xy[i]; if (xy[i] > ends[k + 1]) ends[k + 1] = xy[i]; }
    const [left, right, low, high] = ends, scale = 240 / (high - low || 1);
    for (const side of ['left', 'right']) {
      let last = -Infinity;
      for (const label of out.filter((l) => (l.value[0] > left + 0.6 * (right - left)) === (side === 'left')).sort((a, b) => b.value[1] - a.value[1])) {
        const y = (high - label.value[1]) * scale, place = Math.max(y, last + 13);
        label.label = { position: side, offset: [0, place - y + (side === 'right' ? -8 : 8)] }; // beside the curve, not on it
        last = place;
      }
    }
    return out;
  }
  /** Ranks on a logarithmic axis from both ends, which meet in the middle: what matters is in the first and last few. */
  function rankScale(n) {
    const half = Math.log10((n + 1) / 2);
    const place = (rank) => (rank <= (n + 1) / 2 ? Math.log10(rank) : 2 * half - Math.log10(n + 1 - rank));
    const decades = [];
    for (let d = 1; d < n / 4; d *= 10) decades.push(d);
    const ticks = n <= 20 ? Array.from({ length: n }, (_, i) => i + 1) : [...decades, Math.round((n + 1) / 2), ...decades.map((d) => n + 1 - d).reverse()];
    const label = (x) => counted(ticks.reduce((best, t) => (Math.abs(place(t) - x) < Math.abs(place(best) - x) ? t : best), ticks[0] ?? 1));
    return { place, ticks, label };
  }
  let figure = null, placeOf = null, named = new Set(); // the chart and where a row is in it
  function effectAxisName(rows) {
    const names = new Set();
    for (let i = 0; i < rows.length && names.size < 2; i++) names.add(effectTitle(rows[i]));
    return names.size === 1 ? `effect (${[...names][0]})` : 'effect (unit of each output)';
  }
  function drawFigure() {
    const node = $('figure');
    $('tab-options').replaceChildren();
    let note = '';
    if (state.tab === 'rank') {
      const rows = Uint32Array.from(view).filter((r) => number('effect', r) === number('effect', r));
      const effect = columns.get('effect').data;
      if (!(state.sort === 'effect' && state.dir === 'desc')) rows.sort((a, b) => effect[b] - effect[a] || a - b);
      const xy = new Float64Array(2 * rows.length), at = new Map();
      const ranks = rankScale(rows.length);
      rows.forEach((row, i) => { xy[2 * i] = ranks.place(i + 1); xy[2 * i + 1] = effect[row]; });
      placeOf = (row) => { if (!at.size) rows.forEach((r, i) => at.set(r, i)); return at.has(row) ? [ranks.place(at.get(row) + 1), effect[row]] : null; };
      const marks = { customValues: ranks.ticks.map(ranks.place) };
      figure = scatter(node, groupsOf(rows, xy), axis('rank of the effect', { scale: false, min: -0.1, max: ranks.place(Math.max(2, rows.length)) + 0.1, axisLabel: { ...marks, color: colours.muted, fontSize: 11, hideOverlap: true, formatter: (v) => ranks.label(v) }, axisTick: { show: true, ...marks, lineStyle: { color: colours['line-strong'] } }, splitLine: { show: false }, axisLine: { onZero: false, lineStyle: { color: colours['line-strong'] } } }), axis(effectAxisName(rows), { nameGap: 44 }), { lines: [{ yAxis: 0 }], labels: labelled(rows, xy), name: 'rank' });
      note = `Every row of the table, ordered by its effect${rows.length > 20 ? '; both ends of the order are stretched (logarithms of the rank from the top and from the bottom)' : ''}. Click a point to see its motif.`;
    } else if (state.tab === 'volcano') {
      const which = hasQ ? 'q' : 'p', rows = Uint32Array.from(view);
      const cap = 320;
      const height = (row) => Math.min(cap, -number(which, row));
      const xy = new Float64Array(2 * rows.length);
      rows.forEach((row, i) => { xy[2 * i] = number('effect', row); xy[2 * i + 1] = height(row); });
      placeOf = (row) => (view.includes(row) && height(row) === height(row) ? [number('effect', row), height(row)] : null);
      figure = scatter(node, groupsOf(rows, xy), axis(effectAxisName(rows)), axis(`${MINUS}log₁₀ ${which}`, { scale: false, nameGap: 36 }), { lines: [{ xAxis: 0 }, ...(hasQ ? [{ yAxis: -Math.log10(threshold()) }] : [])], labels: labelled(rows, xy), name: 'volcano' });
      note = `How large an effect is, against how rarely ${nullName()} reach it. The dashed line is ${rule()}.`;
    } else if (state.tab === 'agreement') note = drawAgreement(node);
    else note = drawHeatmap(node);
    $('figure-note').textContent = note;
  }
  /** What an effect is compared with: docs/statistics.md. */
  function nullName() {
    const kinds = given('control_kind') ? levels('control_kind').filter((k) => k !== null) : [];
    return kinds.length && !kinds.includes('pool') ? 'shuffles of the motif itself' : 'meaningless inserts of the same width and GC';
  }
  function select(options, chosen, label, onchange) {
    const made = element('select', { ariaLabel: label }, ...options.map(([v, text]) => element('option', { value: v, selected: v === chosen }, text)));
    made.addEventListener('change', () => onchange(made.value));
    return made;
  }
  let partners = null; // (site, orientation, model, output, background) -> row
  function partnerIndex() {
    if (partners) return partners;
    const sizes = ['orientation', 'model', 'output', 'background'].map((n) => Math.max(1, levels(n).length));
    const key = (row, override = {}) => ['orientation', 'model', 'output', 'background'].reduce((sum, n, i) => sum * sizes[i] + (n in override ? override[n] : code(n, row)), siteOf[row]);
    const map = new Map();
    for (let row = 0; row < N; row++) map.set(key(row), row);
    partners = { key, map };
    return partners;
  }
  function drawAgreement(node) {
    let [dimension, a, b] = state.pair.split('\t');
    if (!DIMENSIONS.includes(dimension)) dimension = DIMENSIONS[0];
    const names = filterLevels(dimension);
    if (dimension === 'orientation') names.sort(); // + before -
    if (!names.includes(a)) a = names[0];
    if (!names.includes(b) || b === a) b = names.find((n) => n !== a);
    const set = (d, x, y) => { state.pair = [d, x, y].join('\t'); drawFigure(); writeHash(); };
    const said = (n) => (dimension === 'orientation' ? signs(n) : n);
    const options = (skip) => names.filter((n) => n !== skip).map((n) => [n, said(n)]);
    $('tab-options').append('compare ', select(DIMENSIONS.map((d) => [d, `${d}s`]), dimension, 'What to compare', (d) => set(d, '', '')), select(options(b), a, 'Across', (v) => set(dimension, v, b)), ' with ', select(options(a), b, 'Up', (v) => set(dimension, a, v)));
    const { key, map } = partnerIndex(), test = matcher(dimension), data = columns.get(dimension).data;
    const ca = levels(dimension).indexOf(a), cb = levels(dimension).indexOf(b);
    const rows = [], others = [], values = [], at = new Map();
    for (const row of order()) {
      if (data[row] !== ca || !test(row)) continue;
      const other = map.get(key(row, { [dimension]: cb }));
      if (other === undefined) continue;
      at.set(row, rows.length); at.set(other, rows.length);
      rows.push(row);
      others.push(other);
      values.push(number('effect', row), number('effect', other));
    }
    const xy = Float64Array.from(values);
    const finite = values.filter((v) => v === v), low = Math.min(...finite.slice(0, 200000), 0), high = Math.max(...finite.slice(0, 200000), 0);
    placeOf = (row) => (at.has(row) ? [xy[2 * at.get(row)], xy[2 * at.get(row) + 1]] : null);
    const r = correlation(xy);
    figure = scatter(node, groupsOf(Uint32Array.from(rows), xy), axis(`${said(a)}: ${effectAxisName(rows)}`), axis(`${said(b)}: ${effectAxisName(others)}`, { nameGap: 44 }), { lines: [[{ coord: [low, low] }, { coord: [high, high] }]], labels: labelled(Uint32Array.from(rows), xy), name: 'agreement' });
    return `Effects of the same motifs, ${dimension} ${said(a)} across and ${said(b)} up; the line is equality. ${counted(rows.length)} pairs${r === r ? `, Pearson r = ${r.toFixed(3)}` : ''}. Colour: ${dimension} ${said(a)}.`;
  }
  function correlation(xy) {
    let n = 0, sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
    for (let i = 0; i < xy.length; i += 2) if (xy[i] === xy[i] && xy[i + 1] === xy[i + 1]) { n++; sx += xy[i]; sy += xy[i + 1]; }
    const mx = sx / n, my = sy / n;
    for (let i = 0; i < xy.length; i += 2) if (xy[i] === xy[i] && xy[i + 1] === xy[i + 1]) { const dx = xy[i] - mx, dy = xy[i + 1] - my; sxx += dx * dx; syy += dy * dy; sxy += dx * dy; }
    return n > 2 ? sxy / Math.sqrt(sxx * syy) : NaN;
  }
  const HEAT_ROWS = 60;
  function drawHeatmap(node) {
    const modes = [['effect', 'effect'], ['relative', 'share of the output’s largest'], ...(given('z') ? [['z', 'z (against controls)']] : [])];
    const units = new Set(levels('output').length > 1 && columns.get('unit')?.kind === 'text' ? levels('unit') : ['']);
    const automatic = units.size > 1 || new Set(levels('measure')).size > 1 ? 'relative' : 'effect';
    const mode = modes.some(([m]) => m === state.colour) ? state.colour : automatic;
    $('tab-options').append('colour ', select(modes, mode, 'Colour by', (v) => { state.colour = v; drawFigure(); writeHash(); }));
    const combos = new Map(); // columns: model x output x background that the filters of model and background allow
    const single = state.background !== '' && levels('output').length > 1; // one set: a column per output
    const inserts = [];
    const seen = new Set();
    for (const row of view) {
      if (seen.has(insertOf[row])) continue;
      seen.add(insertOf[row]);
      inserts.push(insertOf[row]);
      if (inserts.length === HEAT_ROWS) break;
    }
    const largest = relativeTo();
    const cells = [];
    inserts.forEach((insert, y) => {
      for (const row of rowsOfInsert(insert)) {
        if (state.model && show('model', row) !== state.model) continue;
        if (single && show('background', row) !== state.background) continue;
        const key = [code('model', row), code('output', row), code('background', row)].join(' ');
        if (!combos.has(key)) combos.set(key, row);
        const x = mode === 'z' ? number('z', row) : mode === 'relative' ? number('effect', row) / largest(row) : number('effect', row);
        if (x === x) cells.push([key, y, x, row]);
      }
    });
    const keys = [...combos.keys()].sort((p, q) => { const a = p.split(' ').map(Number), b = q.split(' ').map(Number); return a[0] - b[0] || a[1] - b[1] || a[2] - b[2]; });
    const columnOf = new Map(keys.map((k, i) => [k, i]));
    const label = (k) => { const row = combos.get(k); return [levels('model').length > 1 && !state.model ? show('model', row) : '', levels('output').length > 1 ? show('output', row) : '', levels('background').length > 1 && !single ? show('background', row) : ''].filter(Boolean).join(' · ') || show('output', row); };
    const data = cells.map(([k, y, x, row]) => ({ value: [columnOf.get(k), y, x], row }));
    let most = 0;
    for (const [, , x] of cells) most = Math.max(most, Math.abs(x));
    most = most || 1;
    const texts = keys.map(label), longest = Math.max(...texts.map((t) => t.length), 1);
    const room = node.clientWidth - 170, tight = room / keys.length < 9 * Math.min(longest, 14);
    const top = tight ? Math.min(150, 6.2 * longest * 0.75 + 20) : 30;
    const height = inserts.length * 18 + top + 40;
    placeOf = null;
    figure = chart(node, {
      grid: { left: 150, right: 18, top: top + 24, bottom: 8 },
      xAxis: { type: 'category', position: 'top', data: keys.map((_, i) => i), axisLabel: { color: colours.muted, fontSize: 11, rotate: tight ? 48 : 0, width: 170, overflow: 'truncate', interval: Math.max(0, Math.ceil((14 * keys.length) / room) - 1), formatter: (v) => texts[v] }, axisTick: { show: false }, axisLine: { show: false } },
      yAxis: { type: 'category', inverse: true, data: inserts.map((_, i) => i), axisLabel: { color: colours.text, fontSize: 11, width: 138, overflow: 'truncate', interval: 0, formatter: (v) => rowLabel(rowsOfInsert(inserts[v])[0]) }, axisTick: { show: false }, axisLine: { show: false } },
      visualMap: { min: -most, max: most, calculable: false, orient: 'horizontal', left: 4, top: 0, itemWidth: 10, itemHeight: 110, text: [format(most), format(-most)], textStyle: { color: colours.muted, fontSize: 11 }, inRange: { color: [colours.low, colours.middle, colours.high] }, dimension: 2, seriesIndex: 0 },
      series: [{ type: 'heatmap', data, emphasis: { itemStyle: { borderColor: colours.text, borderWidth: 1.5 } }, itemStyle: { borderColor: colours.card, borderWidth: keys.length > 60 ? 0 : 1 }, progressive: 0 }],
      tooltip: { ...tipStyle(), formatter: (p) => rowTip(p.data.row) }, toolbox: { ...pngButton('heatmap'), feature: { saveAsImage: pngButton('heatmap').feature.saveAsImage } },
    }, height);
    figure.off('click');
    figure.on('click', (p) => choose(p.data.row, { jump: true, quiet: true }));
    const hidden = new Set(Array.from(view, (r) => insertOf[r])).size - inserts.length;
    return `The first ${counted(inserts.length)} inserts in the table's order${hidden > 0 ? ` (of ${counted(hidden + inserts.length)}: search, filter or sort to see others)` : ''}, in every ${levels('output').length > 1 ? 'output' : ''}${levels('output').length > 1 && !single && levels('background').length > 1 ? ' and ' : ''}${!single && (levels('background').length > 1 || levels('output').length < 2) ? 'background set' : ''}; colours are centred on zero. Click a cell to see its motif.`;
  }
  let largestOf = null;
  function relativeTo() {
    if (!largestOf) {
      largestOf = new Map();
      const effect = columns.get('effect').data;
      for (let row = 0; row < N; row++) { const k = code('model', row) * 65536 + code('output', row), x = Math.abs(effect[row]); if (x > (largestOf.get(k) ?? 0)) largestOf.set(k, x); }
    }
    return (row) => largestOf.get(code('model', row) * 65536 + code('output', row)) || 1;
  }
  function chosenPoint() {
    const place = state.row >= 0 ? placeOf(state.row) : null;
    return place ? [{ value: place, text: named.has(motifOf[state.row]) ? '' : rowName(state.row) }] : [];
  }
  function mark() { // ring around the chosen row
    if (!figure || !placeOf) return;
    figure.setOption({ series: [{ id: 'chosen', data: chosenPoint() }] });
  }
  function drawTabs() {
    $('tabs').replaceChildren(...TABS.map(([id, title]) => {
      const button = element('button', { type: 'button', role: 'tab', tabIndex: id === state.tab ? 0 : -1 }, title);
      button.setAttribute('aria-selected', id === state.tab);
      button.addEventListener('click', () => { state.tab = id; drawTabs(); drawFigure(); writeHash(); });
      button.addEventListener('keydown', (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = TABS[(TABS.findIndex(([t]) => t === id) + step + TABS.length) % TABS.length][0];
        state.tab = next;
        drawTabs(); drawFigure(); writeHash();
        $('tabs').querySelector('[aria-selected=true]').focus();
      });
      return button;
    }));
  }

  // ----------------------------------------------------------------------------------------- detail
  let detail = null, detailIndex = null;
  async function loadDetail() {
    detail = await unpack('detail-data', meta.detail);
    detailIndex = { background: new Map(), profiles: [], attributions: [] };
    (detail['#background_rows'] ?? []).forEach((row, i) => detailIndex.background.set(row, i));
    meta.profiles.forEach((_, k) => {
      const map = new Map();
      detail[`#profile${k}_rows`].forEach((row, i) => map.set(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`, i));
      detailIndex.profiles.push(map);
    });
    meta.attributions.forEach((_, k) => {
      const map = new Map();
      detail[`#attribution${k}_rows`].forEach((row, i) => map.set(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`, i));
      detailIndex.attributions.push(map);
    });
    drawDetail();
  }
  const inBackgrounds = (row) => { // effects in every single background, or null
    const at = detailIndex?.background.get(row);
    if (at === undefined) return null;
    const n = meta.per_background.n, steps = detail['#background_effects'].subarray(at * n, (at + 1) * n), scale = detail['#background_scale'][at];
    return Array.from(steps, (s) => (s === -32768 ? NaN : s * scale));
  };
  const sameRow = (row, fixed) => fixed.every((name) => code(name, row) === code(name, state.row) || (number(name, row) !== number(name, row) && number(name, state.row) !== number(name, state.row)));
  function sequence(text, step) {
    const style = step ? 'sequence columns' : 'sequence';
    const made = element('p', { className: style, title: 'The bases that are put in' }, ...[...text].map((base) => element('span', { className: `b-${'ACGT'.includes(base) ? base : 'N'}` }, 'ACGT'.includes(base) ? base : '·')));
    if (step) made.style.setProperty('--step', `${step}px`);
    return made;
  }
  const isHidden = (row) => row >= 0 && !matcher()(row);
  let hiddenNow = false; // what the panel says of it
  function showInTable(row) { // drop the filters that hide the row
    for (const name of FILTERS) if (has(name) && state[name] !== '' && show(name, row) !== state[name]) state[name] = initial[name] && show(name, row);
    if (isHidden(row)) Object.assign(state, { search: '', q: null, reps: false });
    showControls();
    update({ scroll: true, linked: true });
    drawDetail();
  }
  function drawDetail() {
    const box = $('detail'), row = state.row;
    hiddenNow = isHidden(row);
    for (const [node, made] of charts) if (box.contains(node)) { made.dispose(); charts.delete(node); }
    if (row < 0) { box.replaceChildren(element('p', { className: 'muted' }, 'Choose a motif in the table or the figure.')); return; }
    const out = [];
    const twin = Array.from(rowsOfMotif(motifOf[row])).find((r) => siteOf[r] === siteOf[row] && code('orientation', r) !== code('orientation', row) && sameRow(r, ['model', 'background', 'output']));
    const head = element('div', { className: 'detail-head' }, element('h2', {}, rowName(row)));
    const segments = element('span', { className: 'segmented', role: 'group', ariaLabel: 'Orientation' });
    for (const o of ['+', '-']) {
      const target = show('orientation', row) === o ? row : twin !== undefined && show('orientation', twin) === o ? twin : -1;
      if (target < 0) continue;
      const button = element('button', { type: 'button', title: o === '+' ? 'as given' : 'reverse complement' }, signs(o));
      button.setAttribute('aria-pressed', target === row);
      button.addEventListener('click', () => { choose(target, { reveal: true, quiet: true }); $('detail').querySelector('[aria-pressed=true]')?.focus(); });
      segments.append(button);
    }
    head.append(segments);
    out.push(head);
    if (hiddenNow) {
      const button = element('button', { type: 'button' }, 'Show it');
      button.addEventListener('click', () => showInTable(row));
      out.push(element('p', { className: 'note hidden-row' }, 'The filters hide this row from the table. ', button));
    }
    const tags = [show('motif_id', row), show('collection', row), given('family') && show('family', row) ? `family ${show('family', row)}${has('family_representative') && show('family_representative', row) ? ` (${show('family_representative', row)})` : ''}` : '',
      levels('model').length > 1 ? show('model', row) : '', show('output', row), show('background', row), varies('start') ? `start ${show('start', row)}` : '', given('draw') ? `draw ${show('draw', row)}` : '', given('partner_id') && show('partner_id', row) ? `with ${show('partner_id', row)} (${signs(show('partner_orientation', row))}), gap ${show('gap', row)}` : ''];
    out.push(element('div', { className: 'tags' }, ...tags.filter(Boolean).map((t) => element('span', { className: 'tag' }, t))));
    const inner = Math.max(240, Math.min(box.clientWidth - 34, 640));
    const w = pwmOf(motifOf[row]).width;
    const wide = Math.min(inner, w * 28);
    out.push(logo(motifOf[row], show('orientation', row), wide, 76, `Logo of ${rowName(row)}, ${show('orientation', row) === '-' ? 'reverse complement' : 'as given'}`));
    if (has('insert')) out.push(sequence(show('insert', row), show('insert', row).length === w ? Math.min(wide / w, 76 * 0.8) : 0));
    const x = number('effect', row);
    out.push(element('div', { className: 'big' }, element('b', { className: significant(row) ? (x > 0 ? 'up' : 'down') : '' }, signed(x)), element('span', { className: 'muted' }, `${effectTitle(row)}${given('ci_low') && !Number.isNaN(number('ci_low', row)) ? `, 95 % interval ${signed(number('ci_low', row))} to ${signed(number('ci_high', row))}` : ''}`)));
    const facts = element('dl', { className: 'facts' });
    const fact = (name, text, help) => text && facts.append(element('div', { title: help ?? '' }, element('dt', {}, name), element('dd', {}, text)));
    if (given('q')) fact('q', show('q', row), meta.help.q);
    if (given('p')) fact('p', show('p', row), meta.help.p);
    if (given('z')) fact('z against controls', signed(number('z', row)), meta.help.z);
    if (given('control_mean')) fact('controls', Number.isNaN(number('control_mean', row)) ? '' : `${signed(number('control_mean', row))} ± ${format(number('control_sd', row))}`, `${show('n_controls', row)} controls, ${show('control_kind', row)}; mean ± standard deviation of their effects`);
    if (given('before_mean')) fact(`before → after${outputUnit(row)}`, Number.isNaN(number('before_mean', row)) ? '' : `${format(number('before_mean', row))} → ${format(number('after_mean', row))}`, 'mean output without and with the insert');
    if (given('sign_consistency')) fact('same sign in', Number.isNaN(number('sign_consistency', row)) ? '' : `${Math.round(100 * number('sign_consistency', row))} % of ${show('n_backgrounds', row)}`, meta.help.sign_consistency);
    else if (has('n_backgrounds')) fact('backgrounds', show('n_backgrounds', row), meta.help.n_backgrounds);
    if (has('effect_se')) fact('standard error', show('effect_se', row), meta.help.effect_se);
    if (given('interaction')) fact('interaction', signed(number('interaction', row)), meta.help.interaction);
    fact('rank by effect', rankOf(row), 'among all inserts in the same model, background set and output');
    if (has('start')) fact('start', `${show('start', row)} bp`, meta.help.start);
    out.push(facts);
    if (given('z') && hasQ && Math.abs(number('z', row)) >= 4 && !significant(row)) out.push(element('p', { className: 'note' }, `A large z beside a large q: in this null a few ${nullName()} reach far (by chance they hold a site that the model knows), so that z, which is in units of the bulk's spread, says little. p and q are taken from the null's tail.`));
    const later = [];
    const section = (title, draw, note) => {
      const node = element('div', { className: 'chart', role: 'img', ariaLabel: title });
      out.push(element('h3', {}, title), node);
      if (note) out.push(element('p', { className: 'note' }, note));
      later.push(() => draw(node));
    };
    if (!detail) out.push(element('p', { className: 'note' }, 'Reading the details…'));
    stripSection(row, section);
    beforeAfterSection(row, section);
    profileSection(row, section, out);
    attributionSection(row, out, inner);
    outputsSection(row, section);
    alongSection(row, section);
    const rows = meta.columns.filter((c) => show(c.name, row) !== '').map((c) => element('tr', { title: meta.help[c.name] ?? '' }, element('td', {}, c.name), element('td', {}, c.kind === 'text' ? show(c.name, row) : exact(c.name, row))));
    out.push(element('details', { className: 'every' }, element('summary', {}, 'All numbers of this row'), element('table', { className: 'numbers' }, element('tbody', {}, ...rows))));
    const top = box.scrollTop, opened = [...box.querySelectorAll('details[open]')].map((d) => d.className);
    box.replaceChildren(...out);
    for (const name of opened) { const folded = box.querySelector(`details.${name}`); if (folded) folded.open = true; }
    box.scrollTop = top;
    for (const draw of later) draw();
  }

  function rankOf(row) {
    const fixed = ['model', 'background', 'output'].filter(has).map((n) => [columns.get(n).data, code(n, row)]), effect = columns.get('effect').data;
    let above = 0, total = 0;
    for (let r = 0; r < N; r++) {
      if (effect[r] !== effect[r] || fixed.some(([data, c]) => data[r] !== c)) continue;
      total++;
      if (effect[r] > effect[row]) above++;
    }
    return effect[row] === effect[row] ? `${counted(above + 1)} of ${counted(total)}` : '';
  }

  /** Dots: single backgrounds; bar: 95 % interval; band: controls. One line per background set and orientation. */
  function stripSection(row, section) {
    const rows = Array.from(rowsOfMotif(motifOf[row])).filter((r) => siteOf[r] === siteOf[row] && sameRow(r, ['model', 'output'])).sort((a, b) => code('background', a) - code('background', b) || (show('orientation', a) < show('orientation', b) ? -1 : 1));
    if (!rows.length) return;
    const dots = [], means = [], bands = [];
    let least = 0, most = 0;
    const lowest = (r) => { const x = number('control_mean', r) - 2 * number('control_sd', r); return oneSided[code('measure', r)] ? Math.max(0, x) : x; };
    const see = (...xs) => { for (const v of xs) if (v === v) { least = Math.min(least, v); most = Math.max(most, v); } };
    rows.forEach((r, y) => {
      (inBackgrounds(r) ?? []).forEach((v, i) => { if (v === v) { see(v); dots.push({ value: [v, y + ((i * 0.618034) % 1 - 0.5) * 0.46], background: i, row: r }); } });
      see(number('ci_low', r), number('ci_high', r), number('effect', r), lowest(r), number('control_mean', r) + 2 * number('control_sd', r));
      means.push([number('effect', r), y, number('ci_low', r), number('ci_high', r)]);
      if (given('control_mean') && !Number.isNaN(number('control_sd', r))) bands.push([lowest(r), y, number('control_mean', r) + 2 * number('control_sd', r), number('control_mean', r)]);
    });
    const span = most - least || 1;
    const names = rows.map((r) => `${show('background', r)} ${signs(show('orientation', r))}`);
    const room = Math.min(130, 6.8 * Math.max(...names.map((t) => t.length)));
    const missing = meta.per_background.inserts && detail && !dots.length ? ` Single backgrounds are kept here for the ${counted(meta.per_background.inserts.length)} strongest of ${counted(meta.per_background.of)} inserts; effects.h5 has all.` : '';
    const note = [dots.length ? 'Dots: single backgrounds.' : '', 'Bar: mean and 95 % interval.', bands.length ? 'Grey band: controls, mean ± 2 standard deviations.' : ''].filter(Boolean).join(' ') + missing;
    section('Effect across backgrounds, against controls', (node) => {
      const made = chart(node, {
        grid: { left: 10 + room, right: 14, top: 8, bottom: 40 },
        xAxis: axis(`effect (${effectTitle(row)})`, { min: least - 0.05 * span, max: most + 0.05 * span, axisLine: { onZero: false, lineStyle: { color: colours['line-strong'] } }, axisLabel: { color: colours.muted, fontSize: 11, hideOverlap: true, showMinLabel: false, showMaxLabel: false, formatter: (v) => signs(String(Number(v.toPrecision(3)))) } }),
        yAxis: { type: 'value', inverse: true, min: -0.5, max: rows.length - 0.5, interval: 0.5, axisLabel: { color: colours.text, fontSize: 11, width: room, overflow: 'truncate', formatter: (v) => names[v] ?? '' }, axisTick: { show: false }, splitLine: { show: false }, axisLine: { show: false } },
        series: [
          { type: 'custom', silent: true, z: 1, data: bands, encode: { x: [0, 2], y: 1 }, renderItem: (_, api) => {
            const a = api.coord([api.value(0), api.value(1)]), b = api.coord([api.value(2), api.value(1)]), m = api.coord([api.value(3), api.value(1)]), h = Math.min(34, api.size([0, 1])[1] * 0.72);
            return { type: 'group', children: [{ type: 'rect', shape: { x: a[0], y: a[1] - h / 2, width: b[0] - a[0], height: h, r: 3 }, style: { fill: colours.control, opacity: 0.28 } }, { type: 'line', shape: { x1: m[0], x2: m[0], y1: a[1] - h / 2, y2: a[1] + h / 2 }, style: { stroke: colours.control, lineWidth: 1.5 } }] };
          } },
          { type: 'scatter', data: dots, symbolSize: 5, z: 2, itemStyle: { color: colours.accent, opacity: 0.5 }, encode: { x: 0, y: 1 }, markLine: { silent: true, symbol: 'none', label: { show: false }, lineStyle: { color: colours['line-strong'], type: 'dashed' }, data: [{ xAxis: 0 }] } },
          { type: 'custom', data: means, z: 4, encode: { x: [0, 2, 3], y: 1 }, renderItem: (_, api) => {
            const m = api.coord([api.value(0), api.value(1)]), a = api.coord([api.value(2), api.value(1)]), b = api.coord([api.value(3), api.value(1)]), h = 9;
            const line = (x1, y1, x2, y2, width) => ({ type: 'line', shape: { x1, y1, x2, y2 }, style: { stroke: colours.text, lineWidth: width } });
            const parts = [line(m[0], m[1] - h, m[0], m[1] + h, 3)];
            if (a[0] === a[0] && b[0] === b[0]) parts.push(line(a[0], m[1], b[0], m[1], 1.5), line(a[0], m[1] - 4, a[0], m[1] + 4, 1.5), line(b[0], m[1] - 4, b[0], m[1] + 4, 1.5));
            return { type: 'group', children: parts };
          } },
        ],
        tooltip: { ...tipStyle(), formatter: (p) => (p.data?.row !== undefined ? tip(`background ${p.data.background + 1}`, [`${show('background', p.data.row)} ${signs(show('orientation', p.data.row))}`, `effect ${signed(p.data.value[0])}`]) : Array.isArray(p.data) ? tip(names[p.data[1]], [`mean ${signed(p.data[0])}`]) : '') },
      }, 56 + 46 * rows.length);
      made.on('click', (p) => { const target = p.data?.row ?? (Array.isArray(p.data) ? rows[Math.round(p.data[1])] : undefined); if (target !== undefined && target !== state.row) choose(target, { reveal: true, quiet: true }); });
    }, note);
  }
  /** The tutorial's figure: each background's output before against after. Only where the effect is their difference. */
  function beforeAfterSection(row, section) {
    const effects = inBackgrounds(row);
    const base = meta.baseline.find((b) => b.model === show('model', row) && b.background === show('background', row) && b.output === show('output', row));
    if (!effects || !base || show('measure', row) !== 'difference') return;
    const data = base.values.map((b, i) => ({ value: [b, b + effects[i]], background: i })).filter((d) => d.value[1] === d.value[1]);
    if (!data.length) return;
    const all = data.flatMap((d) => d.value), least = Math.min(...all), most = Math.max(...all), pad = 0.06 * (most - least || 1);
    const range = { min: least - pad, max: most + pad, axisLabel: { color: colours.muted, fontSize: 11, hideOverlap: true, showMinLabel: false, showMaxLabel: false, formatter: (v) => signs(String(Number(v.toPrecision(3)))) } };
    section('Output before and after, each background', (node) => chart(node, {
      grid: { left: 54, right: 14, top: 10, bottom: 42 }, xAxis: axis(`${show('output', row)} before (${effectTitle(row)})`, range), yAxis: axis('after', { ...range, nameGap: 38 }),
      series: [{ type: 'scatter', data, symbolSize: 7, itemStyle: { color: number('effect', row) > 0 ? colours.up : colours.down, opacity: 0.75 }, markLine: { silent: true, symbol: 'none', lineStyle: { color: colours['line-strong'], type: 'dashed' }, data: [[{ coord: [least - pad, least - pad] }, { coord: [most + pad, most + pad] }]] } }],
      tooltip: { ...tipStyle(), formatter: (p) => (p.data?.background !== undefined ? tip(`background ${p.data.background + 1}`, [`before ${format(p.data.value[0])}`, `after ${format(p.data.value[1])}`]) : '') },
    }, 230));
  }
  function profileSection(row, section, out) {
    if (!detail) return;
    meta.profiles.forEach((block, k) => {
      const at = detailIndex.profiles[k].get(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`);
      const any = detail[`#profile${k}_rows`];
      const mine = any.length && code('model', any[0]) === code('model', row) && code('background', any[0]) === code('background', row);
      if (!mine) return;
      if (at === undefined) {
        if (block.n < block.of) out.push(element('p', { className: 'note' }, `Profiles of ${block.output} are kept here for the ${counted(block.n)} strongest of ${counted(block.of)} inserts; profiles.h5 has all.`));
        return;
      }
      const { strands, length } = block, before = detail[`#profile${k}_before`], change = detail[`#profile${k}_change`].subarray(at * strands * length, (at + 1) * strands * length);
      const series = [];
      const start = number('start', row), width = show('insert', row).length;
      const line = (name, colour, values, widthOf) => ({ type: 'line', name, data: values, showSymbol: false, lineStyle: { color: colour, width: widthOf }, itemStyle: { color: colour }, z: widthOf > 1.2 ? 3 : 2, sampling: 'minmax', emphasis: { disabled: true } });
      for (let s = 0; s < strands; s++) {
        const sign = strands === 2 && s === 1 ? -1 : 1, b = [], a = [];
        for (let i = 0; i < length; i++) {
          const x = block.first + i * block.bp, v = before[s * length + i];
          b.push([x, sign * v]);
          a.push([x, sign * (v + change[s * length + i] * block.step)]);
        }
        const name = strands === 2 ? (s ? MINUS : '+') : strands === 1 ? '' : `track ${s + 1}`;
        series.push(line(`before ${name}`.trim(), colours.null, b, 1.2), line(`after ${name}`.trim(), s ? colours.down : colours.up, a, 1.6));
      }
      if (start === start && width) series[0].markArea = { silent: true, itemStyle: { color: colours.accent, opacity: 0.22 }, data: [[{ xAxis: start }, { xAxis: start + width }]] };
      section(block.output === 'profile' ? 'Mean profile' : `Mean profile, ${block.output}`, (node) => chart(node, {
        grid: { left: 58, right: 14, top: 30, bottom: 42 }, xAxis: axis('position in the sequence (bp)', { min: block.first, max: block.first + length * block.bp }), yAxis: axis('probability', { nameGap: 46, splitNumber: 4, axisLabel: { color: colours.muted, fontSize: 11, formatter: (v) => String(Number(Math.abs(v).toPrecision(3))) } }), series,
        legend: { top: 0, left: 0, itemWidth: 14, itemHeight: 8, textStyle: { color: colours.muted, fontSize: 11 }, icon: 'roundRect' },
        tooltip: { trigger: 'axis', ...tipStyle(), formatter: (ps) => tip(`position ${ps[0].axisValue}`, ps.map((p) => `${p.seriesName}: ${format(Math.abs(p.value[1]))}`)) },
        dataZoom: [{ type: 'inside', zoomOnMouseWheel: 'ctrl', moveOnMouseWheel: false, filterMode: 'none' }], toolbox: { ...pngButton('profile'), feature: { dataZoom: { yAxisIndex: 'none', title: { zoom: 'Zoom by dragging', back: 'Zoom back' }, filterMode: 'none' }, saveAsImage: pngButton('profile').feature.saveAsImage } },
      }, strands === 2 ? 250 : 210), `Mean over backgrounds${block.bp > 1 ? `, bins of ${block.bp} bp` : ''}${strands === 2 ? '; the minus strand points down' : ''}. The shaded place is the insert.`);
    });
  }
  const METHODS = { deep_lift_shap: 'DeepLIFT/SHAP', saturation_mutagenesis: 'Saturation mutagenesis' };
  /** Logos before and after of one function: one scale for both, so that they can be compared. */
  function attributionLogos(row, k, inner) {
    const block = meta.attributions[k], part = (name) => detail[`#attribution${k}_${name}`];
    const at = detailIndex.attributions[k].get(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`);
    const { width } = block, size = 4 * width, from = part('which')[at] * size, step = part('step')[at], change = part('change').subarray(at * size, (at + 1) * size);
    const before = part('before').subarray(from, from + size);
    const sides = [...(block.before ? [['before', before]] : []), ['after', Float32Array.from(change, (c, i) => before[i] + c * step)]];
    let high = 0, low = 0;
    for (const [, v] of sides) for (let i = 0; i < width; i++) {
      let up = 0, down = 0;
      for (let b = 0; b < 4; b++) { const x = v[b * width + i]; if (x > 0) up += x; else down += x; }
      high = Math.max(high, up); low = Math.min(low, down);
    }
    const left = 46, top = 7, tall = 84, first = part('first')[at], start = number('start', row), insertWidth = show('insert', row).length;
    const columnWidth = (inner - left) / width, scale = tall / (high - low || 1), zero = top + high * scale;
    const what = [METHODS[block.function] ?? block.function, block.output && `of ${block.output}`].filter(Boolean).join(' ');
    const out = [element('p', { className: 'note' }, `${what || 'Attribution'}${block.unit ? ` (${block.unit})` : ''}`)];
    sides.forEach(([which, v], number) => {
      const last = number === sides.length - 1, height = top + tall + (last ? 34 : 8);
      const [canvas, context] = canvasOf(inner, height, `${what}, ${which} the insert: from ${format(low, 2)} to ${format(high, 2)} in positions ${first} to ${first + width - 1}`);
      context.fillStyle = colours.sunken;
      if (start === start) context.fillRect(left + (start - first) * columnWidth, top, insertWidth * columnWidth, tall);
      for (let i = 0; i < width; i++) {
        const column = [0, 1, 2, 3].map((b) => [v[b * width + i], 'ACGT'[b]]).sort((a, b) => Math.abs(a[0]) - Math.abs(b[0]));
        let up = zero, down = zero;
        for (const [x, base] of column) {
          const letterHeight = Math.abs(x) * scale;
          if (x > 0) { letter(context, base, left + i * columnWidth, up - letterHeight, columnWidth, letterHeight); up -= letterHeight; } else { letter(context, base, left + i * columnWidth, down, columnWidth, letterHeight); down += letterHeight; }
        }
      }
      context.fillStyle = colours['line-strong'];
      context.fillRect(left, zero, inner - left, 0.7);
      context.fillRect(left - 1, top, 1, tall);
      context.fillStyle = colours.muted;
      context.font = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif';
      context.textBaseline = 'middle';
      context.textAlign = 'right';
      context.fillText(format(high, 2), left - 5, top + 2);
      if (zero - top > 14 && top + tall - zero > 14) context.fillText('0', left - 5, zero);
      context.fillText(low < 0 ? format(low, 2) : '0', left - 5, top + tall - 2);
      context.textAlign = 'left';
      context.fillStyle = colours.text;
      context.fillText(which, left + 4, top + 7);
      if (last) {
        const marks = [first, ...(start === start ? [start, start + insertWidth - 1] : []), first + width - 1];
        let taken = -Infinity;
        context.fillStyle = colours.muted;
        marks.forEach((position, i) => {
          const text = String(position), half = context.measureText(text).width / 2, x = left + (position - first + 0.5) * columnWidth;
          const place = Math.min(Math.max(x, left + half), inner - half);
          if (place - half < taken + 6 && i) return;
          taken = place + half;
          context.fillRect(x, top + tall, 1, 4);
          context.textAlign = 'center';
          context.fillText(text, place, top + tall + 12);
        });
        context.textAlign = 'center';
        context.fillText('position in the sequence (bp)', left + (inner - left) / 2, top + tall + 27);
      }
      out.push(canvas);
    });
    return out;
  }
  function attributionSection(row, out, inner) {
    if (!detail) return;
    const mine = [], missing = [];
    meta.attributions.forEach((block, k) => {
      const any = detail[`#attribution${k}_rows`];
      if (!any.length || code('model', any[0]) !== code('model', row) || code('background', any[0]) !== code('background', row)) return;
      (detailIndex.attributions[k].has(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`) ? mine : missing).push(k);
    });
    if (!mine.length && !missing.some((k) => meta.attributions[k].n < meta.attributions[k].of)) return;
    out.push(element('h3', {}, 'Attributions around the insert'));
    const own = mine.filter((k) => meta.attributions[k].output === show('output', row)), others = mine.filter((k) => !own.includes(k));
    for (const k of own) out.push(...attributionLogos(row, k, inner));
    if (others.length) {
      const folded = element('details', { className: 'others' }, element('summary', {}, `Of other outputs (${others.length})`));
      folded.addEventListener('toggle', () => { if (folded.open && folded.children.length === 1) for (const k of others) folded.append(...attributionLogos(row, k, inner)); });
      out.push(folded);
    }
    const short = missing.filter((k) => meta.attributions[k].n < meta.attributions[k].of)[0];
    if (short !== undefined) out.push(element('p', { className: 'note' }, `Attributions are kept here for the ${counted(meta.attributions[short].n)} strongest of ${counted(meta.attributions[short].of)} inserts; functions.h5 has all.`));
    else if (mine.length) out.push(element('p', { className: 'note' }, 'Mean over backgrounds of the attribution of the bases that are there, without the insert and with it, on one scale. The shaded place is the insert.'));
  }
  function outputsSection(row, section) {
    if (levels('output').length < 2) return;
    const all = Array.from(rowsOfInsert(insertOf[row])).filter((r) => sameRow(r, ['model', 'background']) && number('effect', r) === number('effect', r));
    if (all.length < 2) return;
    const largest = relativeTo(), mixed = new Set(all.map(effectTitle)).size > 1;
    const height = (r) => (mixed ? number('effect', r) / largest(r) : number('effect', r));
    const most = 24, rows = all.length <= most ? all : all.sort((a, b) => Math.abs(height(b)) - Math.abs(height(a))).slice(0, most);
    section(all.length > most ? `Effect in ${most} of ${all.length} outputs, largest first` : 'Effect in every output', (node) => {
      const made = chart(node, {
        grid: { left: 8, right: 16, top: 6, bottom: 38, containLabel: true }, xAxis: axis(mixed ? 'share of the output’s largest effect' : `effect (${effectTitle(row)})`, { scale: false }),
        yAxis: { type: 'category', inverse: true, data: rows.map((_, i) => i), axisLabel: { color: colours.text, fontSize: 11, width: 150, overflow: 'truncate', interval: 0, formatter: (v) => show('output', rows[v]) }, axisTick: { show: false }, axisLine: { lineStyle: { color: colours['line-strong'] } } },
        series: [{ type: 'bar', barMaxWidth: 12, data: rows.map((r) => ({ value: height(r), row: r, itemStyle: { color: !significant(r) ? colours.null : height(r) > 0 ? colours.up : colours.down, borderColor: r === row ? colours.text : 'transparent', borderWidth: r === row ? 1.5 : 0 } })) },
          ...(mixed ? [] : [{ type: 'custom', silent: true, z: 4, data: rows.map((r, y) => [number('ci_low', r), y, number('ci_high', r)]), encode: { x: [0, 2], y: 1 }, renderItem: (_, api) => { const a = api.coord([api.value(0), api.value(1)]), b = api.coord([api.value(2), api.value(1)]); return a[0] === a[0] && b[0] === b[0] ? { type: 'line', shape: { x1: a[0], x2: b[0], y1: a[1], y2: b[1] }, style: { stroke: colours.text, lineWidth: 1.2 } } : null; } }])],
        tooltip: { ...tipStyle(), formatter: (p) => (p.data?.row !== undefined ? rowTip(p.data.row) : '') },
      }, 52 + 18 * rows.length);
      made.on('click', (p) => { if (p.data?.row !== undefined) choose(p.data.row, { reveal: true, quiet: true }); });
    }, `${mixed ? '' : 'Line: 95 % interval. '}Grey: not significant.`);
  }
  /** Effect against the gap of a pair, or against the position. */
  function alongSection(row, section) {
    const along = ['gap', 'start'].find((name) => has(name) && varies(name) && given(name));
    if (!along) return;
    const fixed = ['model', 'background', 'output', 'collection', ...(along === 'gap' ? ['partner_id', 'order', 'draw'] : ['orientation', 'draw'])].filter(has);
    const rows = Array.from(rowsOfMotif(motifOf[row])).filter((r) => sameRow(r, fixed) && number(along, r) === number(along, r));
    const lines = new Map();
    for (const r of rows) {
      const name = along === 'gap' ? `${signs(show('orientation', r))} ${signs(show('partner_orientation', r))}` : signs(show('orientation', r));
      if (!lines.has(name)) lines.set(name, []);
      lines.get(name).push(r);
    }
    if (![...lines.values()].some((l) => l.length > 1)) return;
    const palette = [colours.up, colours.down, colours.A, colours.G];
    section(along === 'gap' ? 'Effect against the gap' : 'Effect against the position', (node) => {
      const series = [];
      [...lines].forEach(([name, list], i) => {
        list.sort((a, b) => number(along, a) - number(along, b));
        const colour = palette[i % palette.length];
        series.push({ type: 'line', name, data: list.map((r) => ({ value: [number(along, r), number('effect', r)], row: r })), symbolSize: 6, symbol: ['circle', 'rect', 'triangle', 'diamond'][i % 4], lineStyle: { color: colour, width: 1.8 }, itemStyle: { color: colour } });
        series.push({ type: 'custom', name, silent: true, data: list.map((r) => [number(along, r), number('ci_low', r), number('ci_high', r)]), encode: { x: 0, y: [1, 2] }, itemStyle: { color: colour }, renderItem: (_, api) => { const a = api.coord([api.value(0), api.value(1)]), b = api.coord([api.value(0), api.value(2)]); return a[1] === a[1] ? { type: 'line', shape: { x1: a[0], y1: a[1], x2: b[0], y2: b[1] }, style: { stroke: colour, opacity: 0.6 } } : null; } });
      });
      const made = chart(node, { grid: { left: 56, right: 14, top: 28, bottom: 42 }, xAxis: axis(along === 'gap' ? 'bases between the two motifs' : 'start of the insert (bp)'), yAxis: axis(`effect (${effectTitle(row)})`, { nameGap: 42 }), series, legend: { top: 0, left: 0, data: [...lines.keys()], textStyle: { color: colours.muted, fontSize: 11 } }, tooltip: { ...tipStyle(), formatter: (p) => (p.data?.row !== undefined ? rowTip(p.data.row) : '') } }, 230);
      made.on('click', (p) => { if (p.data?.row !== undefined) choose(p.data.row, { reveal: true, quiet: true }); });
    }, along === 'gap' ? 'Lines: orientations of the two motifs. Bars: 95 % interval.' : 'Bars: 95 % interval.');
  }

  function choose(row, { reveal: scroll = false, jump = false, quiet = false } = {}) {
    const before = state.row;
    state.row = row;
    $('tbody').querySelector(`#row-${before}`)?.setAttribute('aria-selected', 'false');
    $('tbody').querySelector(`#row-${row}`)?.setAttribute('aria-selected', 'true');
    if (scroll) { const at = positionOf(row); if (at >= 0) { reveal(at); drawRows(); } }
    drawDetail();
    mark();
    writeHash();
    if (jump && !quiet && matchMedia('(max-width: 1080px)').matches) $('detail').scrollIntoView({ behavior: 'smooth', block: 'start' });
  }

  // ---------------------------------------------------------------------------------------- controls
  function fillControls() {
    for (const name of FILTERS) {
      const label = document.querySelector(`label[data-for=${name}]`), names = filterLevels(name);
      label.hidden = names.length < 2;
      const all = { model: 'all models', output: 'all outputs', background: 'all sets', orientation: 'both', family: 'all families' }[name];
      const text = (v) => {
        if (name === 'orientation') return v === '+' ? '+ as given' : v === '-' ? `${MINUS} reverse` : v;
        return name === 'family' ? familyName(v) : v || '(none)';
      };
      const options = name === 'family' ? names.map((v) => [v, text(v)]).sort((a, b) => a[1].localeCompare(b[1], 'en', { numeric: true })) : names.map((v) => [v, text(v)]);
      $(name).replaceChildren(element('option', { value: '' }, all), ...options.map(([v, t]) => element('option', { value: v }, t)));
      $(name).addEventListener('change', () => { state[name] = $(name).value; update(); });
    }
    document.querySelector('label[data-for=q]').hidden = !hasQ;
    document.querySelector('label[data-for=reps]').hidden = !has('family_representative') || !given('family_representative');
    $('search').addEventListener('input', () => { state.search = $('search').value; update(); });
    $('q').addEventListener('input', () => { const q = parseFloat($('q').value); state.q = q >= 0 && q <= 1 ? q : null; update(); });
    $('reps').addEventListener('change', () => { state.reps = $('reps').checked; update(); });
    $('filters').addEventListener('submit', (event) => event.preventDefault());
    $('reset').addEventListener('click', () => { Object.assign(state, initial, { search: '', q: null, reps: false, sort: 'effect', dir: 'desc' }); showControls(); update(); });
    $('copy-link').addEventListener('click', async () => { writeHash(); toast((await copyText(location.href)) ? 'Link copied' : location.href); });
    $('download').addEventListener('click', download);
    document.addEventListener('keydown', (event) => {
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? '');
      if (event.key === '/' && !typing) { event.preventDefault(); $('search').focus(); $('search').select(); }
      if (event.key === 'Escape' && document.activeElement === $('search')) { state.search = $('search').value = ''; update(); scroller.focus(); }
      if ((event.key === 'ArrowDown' || event.key === 'Enter') && document.activeElement === $('search') && view.length) { // into what was found
        event.preventDefault();
        choose(view[0], { reveal: true, jump: event.key === 'Enter' });
        (event.key === 'Enter' ? $('detail') : scroller).focus();
      }
    });
    addEventListener('hashchange', () => { readHash(); showControls(); drawTabs(); update({ scroll: true, linked: state.row >= 0 }); drawDetail(); });
    document.addEventListener('themechange', () => { readColours(); drawRows(true); drawFigure(); drawDetail(); });
    let width = innerWidth, timer = 0;
    addEventListener('resize', () => { clearTimeout(timer); timer = setTimeout(() => { drawRows(true); if (innerWidth !== width) { width = innerWidth; drawFigure(); drawDetail(); } }, 120); });
  }
  const familyNames = new Map();
  function familyName(v) {
    if (!familyNames.size && has('family')) {
      const members = new Map();
      for (let g = 0; g < rowsOfMotif.groups; g++) { const row = rowsOfMotif(g)[0], f = show('family', row); if (!members.has(f)) members.set(f, []); members.get(f).push(row); }
      for (const [f, rows] of members) {
        const lead = rows.find((r) => show('motif_id', r) === show('family_representative', r)) ?? rows[0];
        familyNames.set(f, `${rowName(lead)}${rows.length > 1 ? ` and ${rows.length - 1} more` : ''}`);
      }
    }
    return familyNames.get(signs(v)) ?? familyNames.get(v) ?? v;
  }
  function showControls() {
    for (const name of FILTERS) $(name).value = state[name];
    $('search').value = state.search;
    $('q').value = state.q ?? '';
    $('reps').checked = state.reps;
  }
  function download() {
    const names = meta.columns.map((c) => c.name), parts = [names.join('\t')];
    for (const row of view) parts.push(names.map((n) => exact(n, row)).join('\t'));
    const url = URL.createObjectURL(new Blob([parts.join('\n') + '\n'], { type: 'text/tab-separated-values' }));
    const link = element('a', { href: url, download: `${meta.name}.filtered.tsv` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
  /** The row to look at under new filters: the same, else the same insert, else the same motif, else the first. */
  function stillShown(row) {
    if (row < 0 || !view.length) return view.length ? view[0] : row;
    if (!isHidden(row)) return row;
    const test = matcher(), like = (rows) => Array.from(rows).find((r) => test(r));
    return like(rowsOfInsert(insertOf[row])) ?? like(rowsOfMotif(motifOf[row])) ?? view[0];
  }
  let pending = 0;
  function update({ keepRow = false, scroll = false, linked = false } = {}) {
    const began = performance.now();
    filter();
    drawHead();
    const motifs = new Set();
    for (const row of view) motifs.add(motifOf[row]);
    $('count').textContent = `${counted(view.length)} of ${counted(N)} rows, ${counted(motifs.size)} motif${motifs.size === 1 ? '' : 's'}`;
    const before = state.row;
    if (!linked) state.row = stillShown(before);
    if (!keepRow && !scroll) scroller.scrollTop = 0;
    if (scroll && state.row >= 0) { const at = positionOf(state.row); drawRows(true); if (at >= 0) reveal(at); }
    drawRows(true);
    if (state.row !== before || hiddenNow !== isHidden(state.row)) drawDetail();
    writeHash();
    scroller.offsetHeight; // lay the table out before the clock is read
    const tableTime = performance.now() - began;
    // the figure follows in the next frame, so that typing is never held up by it
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(() => {
      const start = performance.now();
      drawFigure();
      window.marginomeTimes = { ...window.marginomeTimes, filter: tableTime, figure: performance.now() - start };
    });
  }

  // ------------------------------------------------------------------------------------------- start
  fillControls();
  readHash();
  showControls();
  drawTabs();
  const help = meta.columns.filter((c) => meta.help[c.name]).flatMap((c) => [element('dt', {}, c.name), element('dd', {}, meta.help[c.name])]);
  $('help').replaceChildren(...help);
  update({ scroll: true, linked: state.row >= 0 });
  // the figure is drawn in the first frame after the table; the chosen motif follows when both are on the screen
  requestAnimationFrame(() => setTimeout(async () => {
    window.marginomeTimes = { ...window.marginomeTimes, ready: performance.now() };
    await loadDetail();
    window.marginomeTimes.detail = performance.now();
    document.documentElement.dataset.ready = 'yes';
  }));
})();
