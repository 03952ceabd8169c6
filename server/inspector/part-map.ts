/** The parts of an artifact as a picture, and as a table of their digests. */
import { html } from 'hono/html'
import type { Artifact, Part } from '../../schemas/artifact.ts'
import { addressOfArtifact, addressOfRecord } from './addresses.ts'
import { formatSize } from './browser/measures.js'
import { type Html, sizeOf } from './pieces.ts'

/** Rows of the table at a time. */
const ROWS = 250
/** A part is drawn in one of so many shades, chosen by its digest: equal parts look equal. */
const SHADES = 6

/** Parts that look alike are one path, so that 10,000 of them stay a small picture. */
export function formatPartMap(
  artifact: Artifact,
  parts: readonly Part[],
  view: { from: number; isOpen: boolean; badSha256: string | undefined },
): Html {
  if (parts.length === 0) return html`<p>It is empty: there are no parts.</p>`
  if (parts.length === 1) return html`<p>One part, the whole: its digest is the one above.</p>`
  const bad = parts.find(({ sha256 }) => sha256 === view.badSha256)
  return html`<p>${parts.length} parts of ${sizeOf(artifact.partSizeBytes)}, the last of ${sizeOf(parts.at(-1)?.sizeBytes ?? 0)}. Each was checked by its own SHA-256 when it came. Shades come from the digests: equal parts look alike.</p>
${bad === undefined ? '' : html`<p class="odd-words">Part ${bad.number} is the one that did not agree.</p>`}
${drawParts(parts, bad)}
<details id="parts" ${view.isOpen ? html`open` : ''}><summary>Digests of the parts</summary>
${formatDigests(artifact, parts, view.from)}</details>`
}

function drawParts(parts: readonly Part[], bad: Part | undefined): Html {
  // About three times as wide as high, never less than sixteen across.
  const columns = Math.max(16, Math.ceil(Math.sqrt(parts.length * 3)))
  const rows = Math.ceil(parts.length / columns)
  const paths: string[] = Array.from({ length: SHADES }, () => '')
  for (const [index, part] of parts.entries()) {
    if (part === bad) continue
    const shade = Number.parseInt(part.sha256.slice(0, 4), 16) % SHADES
    paths[shade] += cellAt(index, columns)
  }
  const badIndex = bad === undefined ? -1 : parts.indexOf(bad)
  return html`<svg class="part-map" role="img" aria-label="${parts.length} parts${bad === undefined ? '' : `, part ${bad.number} did not agree`}" viewBox="0 0 ${columns * 10} ${rows * 10}">
${paths.map((path, shade) => (path === '' ? '' : html`<path class="shade-${shade}" d="${path}"/>`))}
${bad === undefined ? '' : html`<path class="shade-bad" d="${cellAt(badIndex, columns)}"><title>Part ${bad.number}</title></path>`}
</svg>`
}

const cellAt = (index: number, columns: number): string =>
  `M${(index % columns) * 10} ${Math.floor(index / columns) * 10}h9v9h-9z`

function formatDigests(artifact: Artifact, parts: readonly Part[], from: number): Html {
  const first = Math.min(Math.max(1, from), parts.length)
  const shown = parts.slice(first - 1, first - 1 + ROWS)
  const last = shown.at(-1)?.number ?? first
  const link = (number: number) => `${addressOfArtifact(artifact)}?part=${number}#parts`
  return html`<table class="ledger ledger-small"><thead><tr><th scope="col" class="number">Part</th><th scope="col">SHA-256</th><th scope="col" class="number">Size</th></tr></thead><tbody>
${shown.map(
  (part) =>
    html`<tr><th scope="row" class="number">${part.number}</th><td data-label="SHA-256"><code class="digest-whole">${part.sha256}</code></td><td data-label="Size" class="number">${formatSize(part.sizeBytes)}</td></tr>
`,
)}</tbody></table>
${
  parts.length > ROWS
    ? html`<nav class="pager" aria-label="Parts">
${first > 1 ? html`<a rel="prev" href="${link(Math.max(1, first - ROWS))}">Parts before ${first}</a> ` : ''}<span>Parts ${first} to ${last} of ${parts.length}</span>
${last < parts.length ? html` <a rel="next" href="${link(last + 1)}">Parts after ${last}</a>` : ''}</nav>`
    : ''
}
<p class="fine"><a href="${addressOfRecord(artifact, '/parts')}">All of them as JSON</a></p>`
}
