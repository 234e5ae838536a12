/* How numbers, rows and units are written: for a reader, and to six digits for the download. */

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
