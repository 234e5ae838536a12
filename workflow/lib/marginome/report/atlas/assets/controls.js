/* What a reader does: search, choose, zoom, open; the view is kept in the address. */

function choose(f, m) {
  state.family = f;
  state.chosen = m;
  drawMap();
  drawDetail();
  writeHash();
}

function writeHash() {
  const out = new URLSearchParams();
  for (const name of ['motif', 'model', 'label', 'order']) if (state[name] !== START[name]) out.set(name, state[name]);
  if (state.output) out.set('output', shownOutput().name);
  if (!state.found) out.set('all', '1');
  if (state.family >= 0) out.set('family', meta.families[state.family].id);
  if (state.chosen >= 0) out.set('chosen', meta.models[state.chosen]);
  const hash = '#' + out;
  if (hash !== location.hash) history.replaceState(null, '', hash);
}

function readHash() {
  const asked = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, START, { window: null });
  for (const name of ['motif', 'model']) state[name] = asked.get(name) ?? '';
  if (labelNames.includes(asked.get('label'))) state.label = asked.get('label');
  if (asked.get('order') === 'label') state.order = 'label';
  state.output = Math.max(0, outputs.findIndex((o) => o.name === asked.get('output')));
  state.found = asked.get('all') !== '1';
  state.family = meta.families.findIndex((f) => f.id === asked.get('family'));
  state.chosen = meta.models.indexOf(asked.get('chosen'));
}

function showControls() {
  for (const name of ['motif', 'model', 'label', 'order']) $(name).value = state[name];
  $('output').value = state.output;
  $('found').checked = state.found;
  $('found-label').hidden = !shownOutput().tested;
}

function redraw() {
  showControls();
  drawMap();
  drawDetail();
  writeHash();
}

$('output').replaceChildren(...outputs.map((o, k) => element('option', { value: k }, o.name)));
$('output-label').hidden = outputs.length < 2;
$('label').replaceChildren(...labelNames.map((label) => element('option', { value: label }, label)));
$('label-label').hidden = !labelNames.length;
$('order').parentElement.hidden = !labelNames.length;
for (const name of ['motif', 'model'])
  $(name).addEventListener('input', () => {
    state[name] = $(name).value;
    state.window = null;
    drawMap();
    writeHash();
  });
for (const name of ['label', 'order', 'output', 'found'])
  $(name).addEventListener('change', () => {
    state[name] = name === 'found' ? $(name).checked : name === 'output' ? Number($(name).value) : $(name).value;
    if (name !== 'label') state.window = null;
    redraw();
  });
$('reset').addEventListener('click', () => {
  Object.assign(state, START, { window: null });
  redraw();
});
$('filters').addEventListener('submit', (event) => event.preventDefault());

function zoomBack() {
  state.window = null;
  drawMap();
}

let drag = null;
heat.addEventListener('pointerdown', (event) => {
  const at = placeAt(event);
  if (at.family >= 0 && at.model >= 0) drag = at;
});
heat.addEventListener('pointermove', (event) => {
  const at = placeAt(event),
    box = $('tip');
  heat.style.cursor = at.model >= 0 ? 'pointer' : 'default';
  if (at.model < 0 && at.family < 0) return (box.hidden = true);
  box.replaceChildren(
    at.family < 0
      ? tip(meta.models[at.model], [labelNames.map((label) => labelOf(label, at.model)).join(' · '), 'Click: its page'])
      : at.model < 0
        ? tip(familyName(at.family), [])
        : tip(`${familyName(at.family)}, ${meta.models[at.model]}`, linesOf(at.family, at.model)),
  );
  box.hidden = false;
  const room = $('map').clientWidth - box.offsetWidth - 8;
  box.style.left = `${Math.max(0, Math.min(room, at.x + drawn.left + 14))}px`;
  box.style.top = `${at.y + drawn.top + 14}px`;
  if (drag && (Math.abs(at.x - drag.x) > 5 || Math.abs(at.y - drag.y) > 5)) {
    drawMap();
    const context = heat.getContext('2d');
    context.strokeStyle = colours.accent;
    context.strokeRect(drawn.left + drag.x, drawn.top + drag.y, at.x - drag.x, at.y - drag.y);
  }
});
heat.addEventListener('pointerleave', () => {
  $('tip').hidden = true;
});
addEventListener('pointerup', (event) => {
  if (!drag) return;
  const from = drag,
    at = placeAt(event);
  drag = null;
  if (Math.abs(at.x - from.x) <= 5 && Math.abs(at.y - from.y) <= 5) return;
  const inside = (v, most) => Math.max(0, Math.min(most - 1, v)),
    rows = [from.row, inside(at.row, drawn.rows.length)].sort((a, b) => a - b),
    columns = [from.column, inside(at.column, drawn.columns.length)].sort((a, b) => a - b),
    old = state.window ?? { top: 0, left: 0 };
  state.window = {
    top: old.top + rows[0],
    bottom: old.top + rows[1] + 1,
    left: old.left + columns[0],
    right: old.left + columns[1] + 1,
  };
  drawMap();
  heat.dataset.dragged = '1';
});
heat.addEventListener('click', (event) => {
  if (heat.dataset.dragged) {
    delete heat.dataset.dragged;
    return;
  }
  const at = placeAt(event);
  if (at.model >= 0 && at.y < 0) openModel(at.model);
  else if (at.family >= 0 && at.model >= 0) {
    // a second click on the chosen cell opens its model; anywhere else it chooses
    if (event.detail > 1 && at.family === state.family && at.model === state.chosen) openModel(at.model, at.family);
    else choose(at.family, at.model);
  }
});
$('back').addEventListener('click', zoomBack);
heat.addEventListener('keydown', (event) => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (event.key === 'Enter' && state.chosen >= 0) openModel(state.chosen, state.family);
  if (event.key === 'Escape') zoomBack();
  if (!step || !drawn.rows.length || !drawn.columns.length) return;
  event.preventDefault();
  const move = (list, value, by) => list[Math.max(0, Math.min(list.length - 1, list.indexOf(value) + by))];
  choose(move(drawn.rows, state.family, step[0]) ?? drawn.rows[0], move(drawn.columns, state.chosen, step[1]) ?? drawn.columns[0]);
});
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? '')) {
    event.preventDefault();
    $('motif').focus();
  }
});
addEventListener('hashchange', () => {
  readHash();
  redraw();
});
document.addEventListener('themechange', () => {
  readColours();
  drawMap();
  drawDetail();
});
let timer = 0;
addEventListener('resize', () => {
  clearTimeout(timer);
  timer = setTimeout(() => {
    drawMap();
    drawDetail();
  }, 120);
});

readHash();
redraw();
requestAnimationFrame(() =>
  setTimeout(() => {
    window.marginomeTimes = { ...window.marginomeTimes, ready: performance.now() };
    document.documentElement.dataset.ready = 'yes';
  }),
);
