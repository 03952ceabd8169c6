/** `/log`: the newest checkpoint, how the log grows, who signs it, and when it was looked through. */
import { html } from 'hono/html'
import { formatFingerprint, parseNoteKey } from '../../client/verify/note-key.ts'
import { TILE_WIDTH } from '../../client/verify/tile.ts'
import type { App } from '../http/mount.ts'
import type { SignedHead } from '../log/heads.ts'
import type { Sql } from '../records/database.ts'
import { findSignedAt, readLogSizes } from '../records/inspection.ts'
import { findLogKey } from '../records/log.ts'
import { type ScrubSummary, summariseScrubs } from '../records/scrub.ts'
import { areaChart } from './chart.ts'
import { copyable } from './copyable.ts'
import { formatFaults } from './faults.ts'
import { formatCosigners, readCheckpoint } from './log-words.ts'
import { type InspectorParts, mountPage, renderPage } from './page.ts'
import { emptyState, type Html, nameOf, timeOf } from './pieces.ts'
import { markOf } from './standing.ts'

const DAY_MS = 86_400_000
/** Days of growth in the chart. */
const DAYS = 14

/** Mounts the page of the log. */
export function mountLogPage(app: App, { delivery: { sql }, intake, heads }: InspectorParts): void {
  mountPage(app, '/log', 'logPage', async (c, principal) => {
    const head = heads.newest()
    const body =
      head === undefined ? formatNone() : await formatLog(sql, head, intake.clock().getTime())
    return renderPage(c, {
      title: 'Log',
      nav: 'log',
      modules: ['copy-button.js'],
      body: html`<h1>Log</h1>
${await formatFaults(sql, principal)}
${body}`,
    })
  })
}

function formatNone(): Html {
  return emptyState(
    'There is no log: no signer has signed anything yet. Artifacts are sealed all the same; what is missing is the proof that nobody rewrote the record.',
    'artifact signer --help',
  )
}

async function formatLog(sql: Sql, head: SignedHead, nowMs: number): Promise<Html> {
  const checkpoint = readCheckpoint(head.note)
  const { origin, size } = checkpoint
  const moments = Array.from({ length: DAYS + 1 }, (_, day) => nowMs - (DAYS - day) * DAY_MS)
  const [signedAt, sizes, key, scrubs] = await Promise.all([
    findSignedAt(sql, origin, size),
    readLogSizes(
      sql,
      origin,
      [...moments, nowMs - 7 * DAY_MS].map((ms) => new Date(ms)),
    ),
    findLogKey(sql),
    summariseScrubs(sql),
  ])
  const growth = sizes.slice(0, DAYS + 1)
  const perDay = size - (growth[DAYS - 1] ?? size)
  const perWeek = size - (growth[DAYS - 7] ?? size)
  return html`<p class="lead"><strong>${formatCount(size)}</strong> ${size === 1 ? 'leaf is' : 'leaves are'} signed for${signedAt === undefined ? '' : html`, the last ${timeOf(signedAt.toISOString())}`}.</p>
<p>Everything that is sealed, revoked or removed is a leaf of this log, for ever. Who keeps one of its checkpoints can tell later whether anything before it was changed.</p>
<section aria-labelledby="checkpoint"><h2 id="checkpoint">Newest checkpoint</h2>
<dl class="facts">
<div class="fact-wide"><dt>Log</dt><dd>${copyable(origin)}</dd></div>
<div><dt>Size</dt><dd>${formatCount(size)}</dd></div>
<div class="fact-wide"><dt>Root</dt><dd><code class="digest-whole">${Buffer.from(checkpoint.root).toString('base64')}</code></dd></div>
<div class="fact-wide"><dt>Witnesses</dt><dd>${formatCosigners(checkpoint.cosigners)}</dd></div>
</dl>
<details><summary>As it was signed</summary><pre class="raw">${head.note}</pre></details></section>
<section aria-labelledby="growth"><h2 id="growth">Growth</h2>
<p>${formatCount(perDay)} in the last day, ${formatCount(perWeek)} in the last week.</p>
${areaChart(growth, `From ${growth[0] ?? 0} to ${size} leaves in ${DAYS} days`)}
<details><summary>The days as a table</summary><table class="ledger ledger-small"><thead><tr><th scope="col">Until</th><th scope="col" class="number">Leaves</th><th scope="col" class="number">More than the day before</th></tr></thead><tbody>
${moments
  .map((ms, day) => ({ ms, day }))
  .reverse()
  .map(
    ({
      ms,
      day,
    }) => html`<tr><th scope="row">${timeOf(new Date(ms).toISOString())}</th><td data-label="Leaves" class="number">${formatCount(growth[day] ?? 0)}</td><td data-label="More" class="number">${day === 0 ? '' : formatCount((growth[day] ?? 0) - (growth[day - 1] ?? 0))}</td></tr>
`,
  )}</tbody></table></details></section>
${key === undefined ? '' : formatSigner(key.vkey)}
<section aria-labelledby="audit"><h2 id="audit">Last looked through</h2>
${formatScrubs(scrubs, size)}</section>`
}

function formatSigner(vkey: string): Html {
  const key = parseNoteKey(vkey)
  return html`<section aria-labelledby="signer"><h2 id="signer">Signer</h2>
<dl class="facts">
<div class="fact-wide"><dt>Key</dt><dd>${copyable(vkey)}</dd></div>
<div class="fact-wide"><dt>Fingerprint</dt><dd><code class="digest-whole">${formatFingerprint(key)}</code></dd></div>
</dl>
<p>A client pins this key when it meets the log, and refuses another one later. Compare the fingerprint with what <code>artifact log show</code> prints on a machine that you trust.</p></section>`
}

function formatScrubs(scrubs: ScrubSummary, size: number): Html {
  const tiles = Math.ceil(size / TILE_WIDTH)
  if (scrubs.lastAt === undefined)
    return html`<p>${markOf('wait', 'Not yet since this server keeps account of it.')}</p>`
  const looked = Math.min(scrubs.tiles, tiles)
  return html`<p>${scrubs.faults.length === 0 ? markOf('good', html`Nothing wrong was found; the last tile was hashed again ${timeOf(scrubs.lastAt.toISOString())}`) : markOf('bad', 'The log was altered')}</p>
<p>${formatCount(looked)} of ${formatCount(tiles)} ${tiles === 1 ? 'tile' : 'tiles'} of ${TILE_WIDTH} leaves ${tiles === 1 ? 'was' : 'were'} hashed again and compared with the records${scrubs.oldestAt === undefined ? '' : html`, the one that waits longest ${timeOf(scrubs.oldestAt.toISOString())}`}. To check it from outside: <code>artifact log verify</code>.</p>
${
  scrubs.faults.length === 0
    ? ''
    : html`<section class="alarm" aria-labelledby="altered"><h3 id="altered">What was found</h3><ul>
${scrubs.faults.map(
  ({ tile, faults, foundAt, checkedAt }) =>
    html`<li>Tile ${tile}, ${timeOf(foundAt.toISOString())}: ${nameOf(faults.slice(0, 5).join('; '))}${faults.length > 5 ? `; and ${faults.length - 5} more` : ''}${checkedAt > foundAt ? html`. Looked at again ${timeOf(checkedAt.toISOString())}, and not found any more` : ''}</li>
`,
)}</ul></section>`
}`
}

function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',')
}
