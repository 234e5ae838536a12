/* The panel of the chosen row: logo, numbers, and a section for whatever else is known of it. */

let detail = null,
  detailIndex = null;

async function loadDetail() {
  detail = await unpack('detail-data', meta.detail);
  detailIndex = { background: new Map(), profiles: [], attributions: [] };
  (detail['#background_rows'] ?? []).forEach((row, i) => detailIndex.background.set(row, i));
  meta.profiles.forEach((_, k) => {
    const map = new Map();
    detail[`#profile${k}_rows`].forEach((row, i) =>
      map.set(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`, i),
    );
    detailIndex.profiles.push(map);
  });
  meta.attributions.forEach((_, k) => {
    const map = new Map();
    detail[`#attribution${k}_rows`].forEach((row, i) =>
      map.set(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`, i),
    );
    detailIndex.attributions.push(map);
  });
  if (LOCI) indexLoci();
  drawDetail();
}

const inBackgrounds = (row) => {
  // effects in every single background, or null
  const at = detailIndex?.background.get(row);
  if (at === undefined) return null;
  const n = meta.per_background.n,
    steps = detail['#background_effects'].subarray(at * n, (at + 1) * n),
    scale = detail['#background_scale'][at];
  return Array.from(steps, (s) => (s === -32768 ? NaN : s * scale));
};
const sameRow = (row, fixed) =>
  fixed.every(
    (name) =>
      code(name, row) === code(name, state.row) ||
      (number(name, row) !== number(name, row) && number(name, state.row) !== number(name, state.row)),
  );

function sequence(text, step) {
  const style = step ? 'sequence columns' : 'sequence';
  const made = element(
    'p',
    { className: style, title: 'The bases that are put in' },
    ...[...text].map((base) =>
      element('span', { className: `b-${'ACGT'.includes(base) ? base : 'N'}` }, 'ACGT'.includes(base) ? base : '·'),
    ),
  );
  if (step) made.style.setProperty('--step', `${step}px`);
  return made;
}

let hiddenNow = false; // what the panel says of it

function showInTable(row) {
  // drop the filters that hide the row
  for (const name of FILTERS)
    if (has(name) && state[name] !== '' && show(name, row) !== state[name])
      state[name] = initial[name] && show(name, row);
  if (isHidden(row)) Object.assign(state, { search: '', q: null, reps: false });
  showControls();
  update({ scroll: true, linked: true });
  drawDetail();
}

function drawDetail() {
  const box = $('detail'),
    row = state.row;
  hiddenNow = isHidden(row);
  for (const [node, made] of charts)
    if (box.contains(node)) {
      made.dispose();
      charts.delete(node);
    }
  if (row < 0) {
    const asked = `Choose ${LOCI ? 'an' : 'a'} ${thing} in the table or the figure.`;
    box.replaceChildren(element('p', { className: 'muted' }, asked));
    return;
  }
  const out = [];
  const twin = Array.from(rowsOfMotif(motifOf[row])).find(
    (r) =>
      siteOf[r] === siteOf[row] &&
      code('orientation', r) !== code('orientation', row) &&
      sameRow(r, ['model', 'background', 'output']),
  );
  const head = element('div', { className: 'detail-head' }, element('h2', {}, rowName(row)));
  const segments = element('span', { className: 'segmented', role: 'group', ariaLabel: 'Orientation' });
  for (const o of ['+', '-']) {
    const target =
      show('orientation', row) === o ? row : twin !== undefined && show('orientation', twin) === o ? twin : -1;
    if (target < 0) continue;
    const button = element(
      'button',
      { type: 'button', title: o === '+' ? 'as given' : 'reverse complement' },
      signs(o),
    );
    button.setAttribute('aria-pressed', target === row);
    button.addEventListener('click', () => {
      choose(target, { reveal: true, quiet: true });
      $('detail').querySelector('[aria-pressed=true]')?.focus();
    });
    segments.append(button);
  }
  if (!LOCI) head.append(segments);
  out.push(head);
  if (hiddenNow) {
    const button = element('button', { type: 'button' }, 'Show it');
    button.addEventListener('click', () => showInTable(row));
    out.push(element('p', { className: 'note hidden-row' }, 'The filters hide this row from the table. ', button));
  }
  const representative = show('family_representative', row);
  const tags = [
    show('motif_id', row),
    show('collection', row),
    given('family') && show('family', row)
      ? `family ${show('family', row)}${representative ? ` (${representative})` : ''}`
      : '',
    levels('model').length > 1 ? show('model', row) : '',
    show('output', row),
    show('background', row),
    varies('start') ? `start ${show('start', row)}` : '',
    show('sample', row) ? `sample ${show('sample', row)}` : '',
    given('partner_id') && show('partner_id', row)
      ? `with ${show('partner_id', row)} (${signs(show('partner_orientation', row))}), gap ${show('gap', row)}`
      : '',
  ];
  out.push(
    element('div', { className: 'tags' }, ...tags.filter(Boolean).map((t) => element('span', { className: 'tag' }, t))),
  );
  const inner = Math.max(240, Math.min(box.clientWidth - 34, 640));
  const w = pwmOf(motifOf[row]).width;
  const wide = Math.min(inner, w * 28);
  out.push(
    logo(
      motifOf[row],
      show('orientation', row),
      wide,
      76,
      `Logo of ${rowName(row)}, ${show('orientation', row) === '-' ? 'reverse complement' : 'as given'}`,
    ),
  );
  if (has('insert'))
    out.push(sequence(show('insert', row), show('insert', row).length === w ? Math.min(wide / w, 76 * 0.8) : 0));
  const alone = !LOCI || given('effect'), // an element that was put nowhere has an attribution only
    x = number(alone ? 'effect' : 'attribution', row);
  out.push(
    element(
      'div',
      { className: 'big' },
      element('b', { className: significant(row) ? (x > 0 ? 'up' : 'down') : '' }, signed(x)),
      element(
        'span',
        { className: 'muted' },
        (alone ? effectTitle(row) : `attribution (${LOCI.unit})`) +
          (interval(row) ? `, 95 % interval ${interval(row)}` : ''),
      ),
    ),
  );
  const facts = element('dl', { className: 'facts' });
  const fact = (name, text, help) =>
    text && facts.append(element('div', { title: help ?? '' }, element('dt', {}, name), element('dd', {}, text)));
  if (given('q')) fact('q', show('q', row), 'of all inserts with a q as low, about this share is there by chance');
  const beyond = given('p') && beyondControls(row);
  if (beyond) {
    fact(
      'p',
      `< ${formatLog(Math.log10(number('p_resolution', row)))}`,
      `none of ${show('n_controls', row)} controls does as much: they can say no more`,
    );
    fact('p by the fitted tail', show('p', row), 'an extrapolation beyond all controls: it orders rows, no more');
  } else if (given('p'))
    fact('p', show('p', row), 'how rarely a control does as much: 0.01 is about one control in a hundred');
  if (given('z')) fact('z against controls', signed(number('z', row)), meta.help.z);
  if (given('control_mean'))
    fact(
      'controls',
      Number.isNaN(number('control_mean', row))
        ? ''
        : `${signed(number('control_mean', row))} ± ${format(number('control_sd', row))}`,
      `${show('n_controls', row)} controls, ${show('control_kind', row)}; mean ± standard deviation of their effects`,
    );
  if (given('before_mean'))
    fact(
      `before → after${outputUnit(row)}`,
      Number.isNaN(number('before_mean', row))
        ? ''
        : `${format(number('before_mean', row))} → ${format(number('after_mean', row))}`,
      'mean output without and with the insert',
    );
  if (given('sign_consistency'))
    fact(
      'same sign in',
      Number.isNaN(number('sign_consistency', row))
        ? ''
        : `${Math.round(100 * number('sign_consistency', row))} % of ${show('n_backgrounds', row)}`,
      meta.help.sign_consistency,
    );
  else if (has('n_backgrounds')) fact('backgrounds', show('n_backgrounds', row), meta.help.n_backgrounds);
  if (has('effect_se')) fact('standard error', show('effect_se', row), meta.help.effect_se);
  if (given('interaction')) fact('interaction', signed(number('interaction', row)), meta.help.interaction);
  fact('rank by effect', rankOf(row), 'among all inserts in the same model, background set and output');
  if (has('start')) fact('start', `${show('start', row)} bp`, meta.help.start);
  out.push(facts);
  if (beyond && hasQ && !significant(row))
    out.push(
      element(
        'p',
        { className: 'note' },
        `Not resolved with ${show('n_controls', row)} controls: none of them does as much, but among so many inserts ` +
          'that alone is no finding. More controls, or more inserts that do as much, would tell ' +
          '(docs/statistics.md says ' +
          'how many).',
      ),
    );
  else if (given('z') && hasQ && Math.abs(number('z', row)) >= 4 && !significant(row))
    out.push(
      element(
        'p',
        { className: 'note' },
        `A large z beside a large q: in this null a few ${nullName()} reach far (by chance they hold a site that the ` +
          "model knows), so that z, which is in units of the bulk's spread, says little. p and q are taken from the " +
          "null's tail.",
      ),
    );
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
  elementSections(row, out, inner);
  outputsSection(row, section);
  alongSection(row, section);
  const rows = meta.columns
    .filter((c) => show(c.name, row) !== '')
    .map((c) =>
      element(
        'tr',
        { title: meta.help[c.name] ?? '' },
        element('td', {}, c.name),
        element('td', {}, c.kind === 'text' ? show(c.name, row) : exact(c.name, row)),
      ),
    );
  out.push(
    element(
      'details',
      { className: 'every' },
      element('summary', {}, 'All numbers of this row'),
      element('table', { className: 'numbers' }, element('tbody', {}, ...rows)),
    ),
  );
  const top = box.scrollTop,
    opened = [...box.querySelectorAll('details[open]')].map((d) => d.className);
  box.replaceChildren(...out);
  for (const name of opened) {
    const folded = box.querySelector(`details.${name}`);
    if (folded) folded.open = true;
  }
  box.scrollTop = top;
  for (const draw of later) draw();
}

function choose(row, { reveal: scroll = false, jump = false, quiet = false } = {}) {
  const before = state.row;
  state.row = row;
  if (LOCI) goToPlace(row);
  $('tbody').querySelector(`#row-${before}`)?.setAttribute('aria-selected', 'false');
  $('tbody').querySelector(`#row-${row}`)?.setAttribute('aria-selected', 'true');
  if (scroll) {
    const at = positionOf(row);
    if (at >= 0) {
      reveal(at);
      drawRows();
    }
  }
  drawDetail();
  mark();
  writeHash();
  if (jump && !quiet && matchMedia('(max-width: 1080px)').matches)
    $('detail').scrollIntoView({ behavior: 'smooth', block: 'start' });
}
