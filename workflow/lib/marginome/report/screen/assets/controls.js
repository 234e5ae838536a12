/* The controls above, what follows when one changes, and the start of the page (this file is the last). */

function fillControls() {
  for (const name of FILTERS) {
    const label = document.querySelector(`label[data-for=${name}]`),
      names = filterLevels(name);
    label.hidden = names.length < 2;
    const all = {
      model: 'all models',
      output: 'all outputs',
      background: 'all sets',
      orientation: 'both',
      family: 'all families',
      collection: 'all kinds',
    }[name];
    const text = (v) => {
      if (name === 'orientation') return v === '+' ? '+ as given' : v === '-' ? `${MINUS} reverse` : v;
      return name === 'family' ? familyName(v) : v || '(none)';
    };
    const options =
      name === 'family'
        ? names.map((v) => [v, text(v)]).sort((a, b) => a[1].localeCompare(b[1], 'en', { numeric: true }))
        : names.map((v) => [v, text(v)]);
    $(name).replaceChildren(
      element('option', { value: '' }, all),
      ...options.map(([v, t]) => element('option', { value: v }, t)),
    );
    $(name).addEventListener('change', () => {
      state[name] = $(name).value;
      update();
    });
  }
  document.querySelector('label[data-for=q]').hidden = !hasQ;
  document.querySelector('label[data-for=reps]').hidden =
    !has('family_representative') || !given('family_representative');
  $('search').addEventListener('input', () => {
    state.search = $('search').value;
    update();
  });
  $('q').addEventListener('input', () => {
    const q = parseFloat($('q').value);
    state.q = q >= 0 && q <= 1 ? q : null;
    update();
  });
  $('reps').addEventListener('change', () => {
    state.reps = $('reps').checked;
    update();
  });
  $('filters').addEventListener('submit', (event) => event.preventDefault());
  $('reset').addEventListener('click', () => {
    Object.assign(state, initial, { search: '', q: null, reps: false, sort: START.sort, dir: 'desc' });
    showControls();
    update();
  });
  $('copy-link').addEventListener('click', async () => {
    writeHash();
    toast((await copyText(location.href)) ? 'Link copied' : location.href);
  });
  $('download').addEventListener('click', download);
  document.addEventListener('keydown', (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? '');
    if (event.key === '/' && !typing) {
      event.preventDefault();
      $('search').focus();
      $('search').select();
    }
    if (event.key === 'Escape' && document.activeElement === $('search')) {
      state.search = $('search').value = '';
      update();
      scroller.focus();
    }
    if ((event.key === 'ArrowDown' || event.key === 'Enter') && document.activeElement === $('search') && view.length) {
      // into what was found
      event.preventDefault();
      choose(view[0], { reveal: true, jump: event.key === 'Enter' });
      (event.key === 'Enter' ? $('detail') : scroller).focus();
    }
  });
  addEventListener('hashchange', () => {
    readHash();
    showControls();
    drawTabs();
    update({ scroll: true, linked: state.row >= 0 });
    drawDetail();
  });
  document.addEventListener('themechange', () => {
    readColours();
    drawRows(true);
    drawFigure();
    drawDetail();
  });
  let width = innerWidth,
    timer = 0;
  addEventListener('resize', () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      drawRows(true);
      if (innerWidth !== width) {
        width = innerWidth;
        drawFigure();
        drawDetail();
      }
    }, 120);
  });
}

function showControls() {
  for (const name of FILTERS) $(name).value = state[name];
  if (LOCI) showLocus();
  $('search').value = state.search;
  $('q').value = state.q ?? '';
  $('reps').checked = state.reps;
}

function download() {
  const names = meta.columns.map((c) => c.name),
    parts = [names.join('\t')];
  for (const row of view) parts.push(names.map((n) => exact(n, row)).join('\t'));
  const url = URL.createObjectURL(new Blob([parts.join('\n') + '\n'], { type: 'text/tab-separated-values' }));
  const link = element('a', { href: url, download: `${meta.name}.filtered.tsv` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

let pending = 0;

function update({ keepRow = false, scroll = false, linked = false } = {}) {
  const began = performance.now();
  filter();
  drawHead();
  const motifs = new Set();
  for (const row of view) motifs.add(motifOf[row]);
  $('count').textContent =
    `${counted(view.length)} of ${counted(N)} rows, ${counted(motifs.size)} ${thing}${motifs.size === 1 ? '' : 's'}`;
  const before = state.row;
  if (!linked) state.row = stillShown(before);
  if (LOCI && state.row !== before) goToPlace(state.row);
  if (!keepRow && !scroll) scroller.scrollTop = 0;
  if (scroll && state.row >= 0) {
    const at = positionOf(state.row);
    drawRows(true);
    if (at >= 0) reveal(at);
  }
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
    if (PAIRS) drawPairs();
    window.marginomeTimes = { ...window.marginomeTimes, filter: tableTime, figure: performance.now() - start };
  });
}

fillControls();
readHash();
showControls();
drawTabs();
const help = meta.columns
  .filter((c) => meta.help[c.name])
  .flatMap((c) => [element('dt', {}, c.name), element('dd', {}, meta.help[c.name])]);
$('help').replaceChildren(...help);
update({ scroll: true, linked: state.row >= 0 });
// the figure is drawn in the first frame after the table; the chosen motif follows when both are on the screen
requestAnimationFrame(() =>
  setTimeout(async () => {
    window.marginomeTimes = { ...window.marginomeTimes, ready: performance.now() };
    await loadDetail();
    if (PAIRS) await loadPairs();
    window.marginomeTimes.detail = performance.now();
    document.documentElement.dataset.ready = 'yes';
  }),
);
