/* The figure of one background set, orientation, output or model against another. */

let partners = null; // (site, orientation, model, output, background) -> row

function partnerIndex() {
  if (partners) return partners;
  const sizes = ['orientation', 'model', 'output', 'background'].map((n) => Math.max(1, levels(n).length));
  const key = (row, override = {}) =>
    ['orientation', 'model', 'output', 'background'].reduce(
      (sum, n, i) => sum * sizes[i] + (n in override ? override[n] : code(n, row)),
      siteOf[row],
    );
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
  const set = (d, x, y) => {
    state.pair = [d, x, y].join('\t');
    drawFigure();
    writeHash();
  };
  const said = (n) => (dimension === 'orientation' ? signs(n) : n);
  const options = (skip) => names.filter((n) => n !== skip).map((n) => [n, said(n)]);
  $('tab-options').append(
    'compare ',
    select(
      DIMENSIONS.map((d) => [d, `${d}s`]),
      dimension,
      'What to compare',
      (d) => set(d, '', ''),
    ),
    select(options(b), a, 'Across', (v) => set(dimension, v, b)),
    ' with ',
    select(options(a), b, 'Up', (v) => set(dimension, a, v)),
  );
  const { key, map } = partnerIndex(),
    test = matcher(dimension),
    data = columns.get(dimension).data;
  const ca = levels(dimension).indexOf(a),
    cb = levels(dimension).indexOf(b);
  const rows = [],
    others = [],
    values = [],
    at = new Map();
  for (const row of order()) {
    if (data[row] !== ca || !test(row)) continue;
    const other = map.get(key(row, { [dimension]: cb }));
    if (other === undefined) continue;
    at.set(row, rows.length);
    at.set(other, rows.length);
    rows.push(row);
    others.push(other);
    values.push(number('effect', row), number('effect', other));
  }
  const xy = Float64Array.from(values);
  const finite = values.filter((v) => v === v),
    low = Math.min(...finite.slice(0, 200000), 0),
    high = Math.max(...finite.slice(0, 200000), 0);
  placeOf = (row) => (at.has(row) ? [xy[2 * at.get(row)], xy[2 * at.get(row) + 1]] : null);
  const r = correlation(xy);
  figure = scatter(
    node,
    groupsOf(Uint32Array.from(rows), xy),
    axis(`${said(a)}: ${effectAxisName(rows)}`),
    axis(`${said(b)}: ${effectAxisName(others)}`, { nameGap: 44 }),
    {
      lines: [[{ coord: [low, low] }, { coord: [high, high] }]],
      labels: labelled(Uint32Array.from(rows), xy),
      name: 'agreement',
    },
  );
  return (
    `Effects of the same motifs, ${dimension} ${said(a)} across and ${said(b)} up; the line is equality. ` +
    `${counted(rows.length)} pairs${r === r ? `, Pearson r = ${r.toFixed(3)}` : ''}. Colour: ${dimension} ${said(a)}.`
  );
}

function correlation(xy) {
  let n = 0,
    sx = 0,
    sy = 0,
    sxx = 0,
    syy = 0,
    sxy = 0;
  for (let i = 0; i < xy.length; i += 2)
    if (xy[i] === xy[i] && xy[i + 1] === xy[i + 1]) {
      n++;
      sx += xy[i];
      sy += xy[i + 1];
    }
  const mx = sx / n,
    my = sy / n;
  for (let i = 0; i < xy.length; i += 2)
    if (xy[i] === xy[i] && xy[i + 1] === xy[i + 1]) {
      const dx = xy[i] - mx,
        dy = xy[i + 1] - my;
      sxx += dx * dx;
      syy += dy * dy;
      sxy += dx * dy;
    }
  return n > 2 ? sxy / Math.sqrt(sxx * syy) : NaN;
}
