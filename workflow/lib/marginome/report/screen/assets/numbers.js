/* How numbers, rows and units are written: for a reader, and to six digits for the download. */

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

function show(name, row, digits) {
  const column = columns.get(name);
  if (!column) return '';
  if (column.kind === 'text') return column.levels[column.data[row]] ?? '';
  if (column.kind === 'log10') return formatLog(column.data[row]);
  if (column.kind === 'whole') return Number.isNaN(column.data[row]) ? '' : signs(String(column.data[row]));
  return format(column.data[row], digits);
}

function exact(name, row) {
  // for the download: six digits
  const column = columns.get(name);
  if (column.kind === 'text') return (column.levels[column.data[row]] ?? '').replace(/[\t\r\n]/g, ' ');
  const x = column.data[row];
  if (Number.isNaN(x)) return '';
  if (column.kind === 'whole') return String(x);
  if (column.kind === 'number') return String(Number(x.toPrecision(6)));
  if (x === -Infinity) return '0';
  const whole = Math.floor(x);
  return x === 0
    ? '1'
    : x > -5
      ? String(Number((10 ** x).toPrecision(5)))
      : `${(10 ** (x - whole)).toFixed(4)}e${whole}`;
}

const thing = meta.loci ? 'element' : 'motif';
const rowName = (row) => show('motif_name', row) || show('motif_id', row);

function rowLabel(row) {
  const parts = [rowName(row)];
  if (given('partner_id'))
    parts.push(`with ${show('partner_id', row) || '?'} ${show('partner_orientation', row)} gap ${show('gap', row)}`);
  if (show('sample', row)) parts.push(`sample ${show('sample', row)}`);
  return `${parts.join(' ')} (${signs(show('orientation', row))})`;
}

// the unit of before and after is the effect's where the effect is their difference
const outputUnit = (row) =>
  show('measure', row) === 'difference' && show('unit', row) ? ` (${show('unit', row)})` : ` (${show('output', row)})`;
const effectTitle = (row) => {
  const unit = show('unit', row);
  return unit || show('measure', row) || 'effect';
};

function interval(row) {
  const low = number('ci_low', row);
  return Number.isNaN(low) ? '' : `${signed(low)} to ${signed(number('ci_high', row))}`;
}

/** Says that a page has details of some inserts only. */
function onlyStrongest(what, { n, of }, file) {
  return `${what} are kept here for the ${counted(n)} strongest of ${counted(of)} inserts; ${file} has all.`;
}
