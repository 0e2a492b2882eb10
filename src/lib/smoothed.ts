/** A measure that follows what is measured: an eighth of the way each time, and one that is far off counts as twice. */
export function smoothed(value: number, sample: number): number {
  if (value === 0) return sample;
  return value + (Math.min(sample, 2 * value) - value) / 8;
}
