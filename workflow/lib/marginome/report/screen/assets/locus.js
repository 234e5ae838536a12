/* The figure of one locus: which one, what is in sight of it, and how a reader moves. */

const NARROWEST = 20; // bases in sight
let locusSelect = null;

/** What is in sight of the locus. */
function lookAt(from, to) {
  const all = LOCI.length,
    width = Math.max(Math.min(NARROWEST, all), Math.min(all, Math.round(to - from) || all));
  state.from = Math.max(0, Math.min(all - width, Math.round(from) || 0));
  state.to = state.from + width;
}

const zoom = (factor, at = (state.from + state.to) / 2) => {
  lookAt(at - (at - state.from) * factor, at + (state.to - at) * factor);
  redrawLocus();
};
const pan = (bases) => {
  const width = state.to - state.from;
  const from = Math.max(0, Math.min(LOCI.length - width, state.from + bases));
  lookAt(from, from + width);
  redrawLocus();
};

function redrawLocus() {
  drawFigure();
  writeHash();
}

function seeAround({ locus, start, end }) {
  const same = state.locus === locus && start >= state.from && end <= state.to;
  if (same && state.to - state.from <= 400) return;
  state.locus = locus;
  lookAt((start + end) / 2 - 60, (start + end) / 2 + 60);
}

/** Turns to the locus of a chosen row: of a pattern to its strongest seqlet, unless one is in sight. */
function goToPlace(row) {
  if (!loci) return;
  const pattern = LOCI.patterns.indexOf(show('motif_id', row));
  const all = pattern < 0 ? [placeOfRow(row)] : loci.instances[pattern];
  const place = all.find((one) => one && one.locus === state.locus) ?? all[0];
  if (place) seeAround(place);
  if (state.tab === 'locus') drawFigure();
}

/** Shows a place in the figure, whichever it shows now. */
function showPlace(place) {
  state.tab = 'locus';
  seeAround(place);
  drawTabs();
  redrawLocus();
}

function chooseLocus(locus) {
  state.locus = (locus + LOCI.ids.length) % LOCI.ids.length;
  lookAt(0, LOCI.length);
  const own = loci.elements[state.locus].find((one) => one.group !== undefined);
  if (own) {
    state.row = rowOfElement(own);
    drawRows(true);
    drawDetail();
  }
  redrawLocus();
}

function showLocus() {
  if (locusSelect) locusSelect.value = state.locus;
}

function locusControls() {
  if (!locusSelect) {
    const names = LOCI.ids.map((id, i) => {
      const n = loci.elements[i].length;
      return [i, n ? `${id} (${n})` : id];
    });
    locusSelect = select(names, -1, 'Locus; in brackets how many elements it has', (v) => chooseLocus(Number(v)));
    locusSelect.classList.add('locus');
  }
  const button = (text, label, action) => {
    const made = element('button', { type: 'button', title: label, ariaLabel: label }, text);
    made.addEventListener('click', () => {
      action();
      [...$('tab-options').querySelectorAll('button')].find((b) => b.ariaLabel === label)?.focus();
    });
    return made;
  };
  $('tab-options').replaceChildren(
    button('‹', 'Locus before', () => chooseLocus(state.locus - 1)),
    locusSelect,
    button('›', 'Next locus', () => chooseLocus(state.locus + 1)),
    button('+', 'Zoom in', () => zoom(0.5)),
    button(MINUS, 'Zoom out', () => zoom(2)),
    button('All', 'The whole locus', () => chooseView(0, LOCI.length)),
  );
  showLocus();
}

const chooseView = (from, to) => {
  lookAt(from, to);
  redrawLocus();
};

function drawLocus(node) {
  figure = null;
  placeOf = null;
  charts.get(node)?.dispose();
  charts.delete(node);
  node.style.height = 'auto';
  if (!loci) {
    node.replaceChildren(element('p', { className: 'note' }, 'Reading the loci…'));
    return '';
  }
  if (state.locus < 0) {
    state.locus = 0;
    lookAt(0, LOCI.length);
    if (state.row >= 0) {
      const pattern = LOCI.patterns.indexOf(show('motif_id', state.row));
      const place = placeOfRow(state.row) ?? loci.instances[pattern]?.[0];
      if (place) seeAround(place);
    }
  }
  locusControls();
  const focused = document.activeElement?.closest('#figure canvas');
  const { canvas, hits } = paintLocus(Math.max(300, node.clientWidth));
  listen(canvas, hits);
  const list = element('p', { className: 'elements' });
  for (const one of loci.elements[state.locus]) {
    const row = rowOfElement(one);
    const pattern = LOCI.patterns[one.pattern] ?? one.name,
      text = pattern === one.name ? one.name : `${one.name} of ${pattern}`;
    const alone = row >= 0 && given('effect') ? `, alone ${signed(number('effect', row))}` : '';
    const q = alone && hasQ && show('q', row) ? `, q ${show('q', row)}` : '';
    const made = element('button', { type: 'button', title: placeName(one) }, `${text}${alone}${q}`);
    made.setAttribute('aria-pressed', row >= 0 && motifOf[row] === motifOf[state.row]);
    made.addEventListener('click', () => {
      seeAround(one);
      if (row >= 0) choose(row, { reveal: true });
      else redrawLocus();
    });
    list.append(made);
  }
  node.replaceChildren(canvas, list);
  if (focused) canvas.focus();
  return (
    `Attributions of the bases of the locus (${LOCI.unit}). ` +
    `Drag or ← → to move, + and ${MINUS} to zoom, 0 for all of it. ` +
    'Where there are no letters, grey is the strongest base of each part.' +
    (LOCI.without_letters ? ` The ${counted(LOCI.without_letters)} weakest loci have no letters.` : '')
  );
}

function listen(canvas, { hits, left, inner, above }) {
  const perBase = () => inner / (state.to - state.from);
  canvas.addEventListener('keydown', (event) => {
    const moves = {
      ArrowLeft: () => pan(-(state.to - state.from) / 5),
      ArrowRight: () => pan((state.to - state.from) / 5),
      '+': () => zoom(0.5),
      '=': () => zoom(0.5),
      '-': () => zoom(2),
      0: () => chooseView(0, LOCI.length),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
  });
  canvas.addEventListener(
    'wheel',
    (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas) return; // or the page could not be scrolled past it
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, state.from + (event.offsetX - left) / perBase());
    },
    { passive: false },
  );
  canvas.addEventListener('pointerdown', (down) => {
    const box = canvas.getBoundingClientRect(),
      [x, y] = [down.clientX - box.left, down.clientY - box.top];
    if (y < above + 40) {
      const at = ((x - left) / inner) * LOCI.length,
        half = Math.min(LOCI.length / 2, (state.to - state.from) / 2);
      chooseView(at - half, at + half);
      return;
    }
    const start = state.from,
      width = state.to - state.from,
      step = perBase();
    const move = (event) => {
      const from = Math.max(0, Math.min(LOCI.length - width, start - (event.clientX - down.clientX) / step));
      if (Math.round(from) !== state.from) chooseView(from, from + width);
    };
    const up = (event) => {
      removeEventListener('pointermove', move);
      removeEventListener('pointerup', up);
      if (Math.abs(event.clientX - down.clientX) > 3) return;
      const hit = hits.find((h) => h.row >= 0 && x >= h.x - 2 && x <= h.x + h.wide && y >= h.y && y < h.y + 18);
      if (hit) choose(hit.row, { reveal: true });
    };
    addEventListener('pointermove', move);
    addEventListener('pointerup', up);
  });
}
