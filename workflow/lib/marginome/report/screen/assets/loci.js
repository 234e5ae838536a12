/* Where elements were found: the letters of loci, the elements of each, and small logos of them. */

const locusNumbers = new Map((LOCI?.ids ?? []).map((id, i) => [id, i]));
const locusOfLevel = LOCI ? levels('sequence_id').map((id) => locusNumbers.get(id) ?? -1) : [];
let loci = null; // filled once the details are read

/** Where a seqlet is in its locus; null for a pattern, and on the page of a screen. */
function placeOfRow(row) {
  if (!LOCI || !has('seqlet_start')) return null;
  const start = number('seqlet_start', row),
    locus = locusOfLevel[code('sequence_id', row)] ?? -1;
  return start === start && locus >= 0 ? { locus, start, end: number('seqlet_end', row) } : null;
}

function indexLoci() {
  const first = [0],
    spans = grouped(detail['#span_locus']);
  detail['#span_start'].forEach((start, i) => first.push(first[i] + detail['#span_end'][i] - start));
  const elements = LOCI.ids.map(() => []),
    groups = new Map(),
    instances = LOCI.patterns.map(() => []);
  for (let g = 0; g < rowsOfMotif.groups; g++) {
    const row = rowsOfMotif(g)[0],
      place = placeOfRow(row);
    if (place) elements[place.locus].push({ ...place, group: g, name: rowName(row) });
    else groups.set(show('motif_id', row), g);
  }
  detail['#instance_pattern'].forEach((pattern, i) => {
    const [locus, start, end] = ['example_idx', 'start', 'end'].map((name) => detail[`#instance_${name}`][i]);
    const group = groups.get(LOCI.patterns[pattern]);
    const one = { locus, start, end, group, pattern, strand: detail['#instance_strand'][i] ? '-' : '+' };
    one.attribution = detail['#instance_attribution'][i];
    one.name = group === undefined ? LOCI.patterns[pattern] : rowName(rowsOfMotif(group)[0]);
    instances[pattern].push(one);
    elements[locus].push(one);
  });
  for (const list of instances) list.sort((a, b) => Math.abs(b.attribution) - Math.abs(a.attribution));
  for (const list of elements) list.sort((a, b) => a.start - b.start || a.end - b.end);
  loci = { elements, instances, first, spansOf: (locus) => (locus < spans.groups ? spans(locus) : []) };
  drawRows(true);
  if (state.tab === 'locus') drawFigure();
}

/** The row of an element that the filters ask for, else its first. */
function rowOfElement(one) {
  if (one.group === undefined) return -1;
  const rows = Array.from(rowsOfMotif(one.group)),
    test = matcher();
  return rows.find(test) ?? rows[0];
}

/** Calls back with position, letter and attribution of the bases of a locus that have letters. */
function lettersOf(locus, from, to, found) {
  const scale = detail['#locus_scale'][locus];
  for (const span of loci.spansOf(locus)) {
    const start = detail['#span_start'][span],
      last = Math.min(to, detail['#span_end'][span]);
    for (let at = Math.max(from, start); at < last; at++) {
      const i = loci.first[span] + at - start;
      found(at, 'ACGTN'[detail['#span_bases'][i]], detail['#span_steps'][i] * scale);
    }
  }
}

/** Letters of a part of a locus in a box, on one scale; shades the element. Returns the highest and lowest value. */
function drawLetters(context, locus, from, to, { left, top, width, height }, mark) {
  let high = 0,
    low = 0;
  lettersOf(locus, from, to, (at, base, value) => {
    high = Math.max(high, value);
    low = Math.min(low, value);
  });
  const scale = height / (high - low || 1),
    zero = top + high * scale,
    step = width / (to - from);
  if (mark) {
    context.fillStyle = colours.sunken;
    context.fillRect(left + (mark.start - from) * step, top, (mark.end - mark.start) * step, height);
  }
  lettersOf(locus, from, to, (at, base, value) => {
    if (base !== 'N') stack(context, [[value, base]], left + (at - from) * step, step, zero, scale);
  });
  context.fillStyle = colours['line-strong'];
  context.fillRect(left, zero, width, 0.7);
  return { high, low, zero };
}

function smallLogo(row, width, height) {
  const [canvas, context] = canvasOf(width, height),
    place = placeOfRow(row);
  const bases = Math.max(12, place.end - place.start);
  const from = Math.max(0, Math.min(LOCI.length - bases, Math.round((place.start + place.end - bases) / 2)));
  if (loci) drawLetters(context, place.locus, from, from + bases, { left: 0, top: 0, width, height });
  return canvas;
}

/** A place in the genome where the locus has one, else in the locus. */
function placeName({ locus, start, end }) {
  const known = /^(.+):(\d+)-\d+$/.exec(LOCI.ids[locus]);
  return known
    ? `${known[1]}:${Number(known[2]) + start}-${Number(known[2]) + end}`
    : `${LOCI.ids[locus]}, ${start}-${end}`;
}

/** Sections of the panel: an element in its locus; a pattern's attributions and its seqlets. */
function elementSections(row, out, inner) {
  if (!loci) return;
  const place = placeOfRow(row);
  if (place) {
    out.push(element('h3', {}, 'In its locus'));
    const around = 20,
      from = Math.max(0, place.start - around),
      to = Math.min(LOCI.length, place.end + around);
    const [canvas, context] = canvasOf(inner, 96, `Attributions of ${placeName({ ...place, start: from, end: to })}`);
    drawLetters(context, place.locus, from, to, { left: 0, top: 4, width: inner, height: 88 }, place);
    const button = element('button', { type: 'button' }, 'Show in the locus');
    button.addEventListener('click', () => showPlace(place));
    const said = given('attribution') ? `, attribution ${signed(number('attribution', row))}` : '';
    out.push(canvas, element('p', { className: 'note hidden-row' }, `${placeName(place)}${said} `, button));
  }
  const pattern = LOCI.patterns.indexOf(show('motif_id', row));
  if (pattern < 0) return;
  const width = LOCI.widths[pattern],
    before = LOCI.widths.slice(0, pattern).reduce((sum, w) => sum + 4 * w, 0);
  const values = detail['#contributions'].subarray(before, before + 4 * width);
  out.push(element('h3', {}, 'Mean attributions of its seqlets'));
  const wide = Math.min(inner, width * 28),
    [canvas, context] = canvasOf(wide, 92, `Mean attributions of ${rowName(row)}, position by position`);
  let high = 0,
    low = 0;
  const columns = Array.from({ length: width }, (_, i) => [...values.subarray(4 * i, 4 * i + 4)]);
  for (const column of columns) {
    high = Math.max(high, column.reduce((sum, x) => sum + Math.max(0, x), 0));
    low = Math.min(low, column.reduce((sum, x) => sum + Math.min(0, x), 0));
  }
  const scale = 88 / (high - low || 1);
  columns.forEach((column, i) =>
    stack(context, column.map((x, b) => [x, 'ACGT'[b]]), (i * wide) / width, wide / width, 2 + high * scale, scale),
  );
  const all = loci.instances[pattern];
  out.push(canvas, element('h3', {}, `Its seqlets (${counted(all.length)})`));
  const list = element('ul', { className: 'instances' });
  for (const one of all.slice(0, 100)) {
    const button = element('button', { type: 'button' }, `${placeName(one)} (${signs(one.strand)})`);
    button.addEventListener('click', () => showPlace(one));
    list.append(element('li', {}, button, element('span', { className: 'muted' }, ` ${signed(one.attribution)}`)));
  }
  out.push(list);
  if (all.length > 100)
    out.push(element('p', { className: 'note' }, 'The 100 strongest; pattern_seqlets.parquet has all.'));
}
