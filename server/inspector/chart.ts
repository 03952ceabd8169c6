/** Small charts as inline SVG: no style attribute, no script, and words that say the same. */
import { html } from 'hono/html'
import type { Html } from './pieces.ts'

/** One bar. */
export interface Bar {
  /** Not negative. */
  value: number
  /** What it is, for people who point at it. */
  title: string
  /** Must jump out. */
  isOdd: boolean
  /** The one that is spoken of. */
  isLast?: boolean
}

const BAR = 7
const GAP = 2
const HEIGHT = 44
/** Room for so many bars at least, so that the first runs of a task are not blocks. */
const BARS_MIN = 16

/** Bars from left to right, as high as their share of the largest one; `label` says it all in words. */
export function barChart(bars: readonly Bar[], label: string): Html {
  const slots = Math.max(BARS_MIN, bars.length)
  const width = slots * (BAR + GAP) - GAP
  const left = (slots - bars.length) * (BAR + GAP)
  const most = Math.max(...bars.map(({ value }) => value), 1)
  return html`<svg class="chart chart-bars" role="img" aria-label="${label}" viewBox="0 0 ${width} ${HEIGHT}" preserveAspectRatio="none">
<line class="chart-base" x1="0" y1="${HEIGHT - 0.5}" x2="${width}" y2="${HEIGHT - 0.5}"/>
${bars.map((bar, index) => {
  const height = Math.max(1.5, (bar.value / most) * (HEIGHT - 2))
  const kind = bar.isOdd ? ' chart-odd' : bar.isLast === true ? ' chart-last' : ''
  return html`<rect class="chart-bar${kind}" x="${left + index * (BAR + GAP)}" y="${(HEIGHT - height).toFixed(1)}" width="${BAR}" height="${height.toFixed(1)}"><title>${bar.title}</title></rect>`
})}</svg>`
}

/** The growth of something as an area from left to right; values do not fall. */
export function areaChart(values: readonly number[], label: string): Html {
  const width = 240
  const height = 56
  const most = Math.max(...values, 1)
  const step = width / Math.max(1, values.length - 1)
  const points = values.map(
    (value, index) =>
      `${(index * step).toFixed(1)} ${(height - 2 - (value / most) * (height - 6)).toFixed(1)}`,
  )
  return html`<svg class="chart chart-area" role="img" aria-label="${label}" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none">
<path class="chart-fill" d="M0 ${height}L${points.join('L')}L${width} ${height}Z"/>
<path class="chart-line" d="M${points.join('L')}"/>
</svg>`
}

/**
 * Whether a value differs by more than a third from the median of those before it, and how, in words;
 * `undefined` when it does not, or when there are fewer than three to compare it with.
 */
export function describeDeparture(value: number, before: readonly number[]): string | undefined {
  if (before.length < 3) return undefined
  const usual = median(before)
  if (usual === 0) return value === 0 ? undefined : 'more than nothing, which is usual'
  const share = value / usual
  if (share < 2 / 3) return `${Math.round((1 - share) * 100)} % less than usual`
  if (share <= 4 / 3) return undefined
  return share < 3
    ? `${Math.round((share - 1) * 100)} % more than usual`
    : `${share.toFixed(share < 10 ? 1 : 0)} times the usual`
}

/** The middle value; the mean of the middle two when their number is even. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? 0
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? 0
  return (upper + lower) / 2
}
