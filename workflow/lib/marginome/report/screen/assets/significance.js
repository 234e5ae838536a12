/* When an effect counts, and what it was compared with. */

const hasQ = given('q');
const oneSided = levels('measure').map((m) => meta.unsigned.includes(m));

function significant(row) {
  if (hasQ) return number('q', row) <= Math.log10(threshold()) + 1e-6;
  if (oneSided[code('measure', row)]) return false; // never below 0: without controls its interval says nothing
  const low = number('ci_low', row),
    high = number('ci_high', row);
  return low > 0 || high < 0;
}

/** Whether p is smaller than controls can show: then it orders rows, no more. */
const beyondControls = (row) =>
  given('p_resolution') && number('p', row) < Math.log10(number('p_resolution', row)) - 1e-6;

const rule = () => (hasQ ? `q ≤ ${threshold()}` : '95 % interval excludes 0');

/** What an effect is compared with: docs/statistics.md. */
function nullName() {
  const kinds = given('control_kind') ? levels('control_kind').filter((k) => k !== null) : [];
  return kinds.length && !kinds.includes('pool')
    ? 'shuffles of the motif itself'
    : 'meaningless inserts of the same width and GC';
}

function rankOf(row) {
  const fixed = ['model', 'background', 'output'].filter(has).map((n) => [columns.get(n).data, code(n, row)]),
    effect = columns.get('effect').data;
  let above = 0,
    total = 0;
  for (let r = 0; r < N; r++) {
    if (effect[r] !== effect[r] || fixed.some(([data, c]) => data[r] !== c)) continue;
    total++;
    if (effect[r] > effect[row]) above++;
  }
  return effect[row] === effect[row] ? `${counted(above + 1)} of ${counted(total)}` : '';
}
