/** `/artifacts/:task/:run/:name`: all that is known of an artifact. */
import { html } from 'hono/html'
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactName, TaskName } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Statement } from '../../schemas/statement.ts'
import type { Verification } from '../../schemas/verification.ts'
import { isAllowed, type Principal } from '../access/scopes.ts'
import { type Delivery, getArtifact } from '../delivery/artifacts.ts'
import type { App } from '../http/mount.ts'
import type { Heads } from '../log/heads.ts'
import { listStatements } from '../log/statements.ts'
import { findReceipt } from '../log/tiles.ts'
import { findParts, type StoredArtifact } from '../records/artifacts.ts'
import { readStandings } from '../records/inspection.ts'
import { findLogKey } from '../records/log.ts'
import { listVerifications } from '../records/verification.ts'
import { addressOfRun, addressOfTask, commandToGet } from './addresses.ts'
import { copyable } from './copyable.ts'
import { findStoreOrigin, formatDownload } from './download.ts'
import { formatReceiptWords } from './log-words.ts'
import { type InspectorParts, mountPage, type PageContext, renderPage } from './page.ts'
import { formatPartMap } from './part-map.ts'
import { digestOf, type Html, nameOf, sizeOf, timeOf } from './pieces.ts'
import { formatLabels, parseRunSelector } from './run-page.ts'
import { formatOutcome, formatSealCheck, formatStanding, formatTook, markOf } from './standing.ts'

/** Verifications that are shown. */
const VERIFICATIONS = 50
/** The page does not wait for the signer. */
const RECEIPT_PATIENCE_MS = 0

/** Mounts the page of an artifact. */
export function mountArtifactPage(app: App, { delivery, heads }: InspectorParts): void {
  mountPage(app, '/artifacts/:task/:run/:name{.+}', 'artifactPage', async (c, principal) => {
    const stored = await findVisible(delivery, principal, c)
    const { artifact } = stored
    const known = await readAll(delivery, heads, artifact)
    const mayGet = isAllowed(principal, 'get', artifact.task, artifact.name)
    const origin = mayGet ? await findStoreOrigin(delivery.store, stored) : undefined
    return renderPage(c, {
      title: artifact.reference,
      nav: 'tasks',
      modules: ['copy-button.js', ...(mayGet ? ['verified-download.js'] : [])],
      policy: mayGet ? { worker: true, connect: origin === undefined ? [] : [origin] } : {},
      body: html`<p class="trail"><a href="/tasks">Tasks</a> <span aria-hidden="true">›</span> <a href="${addressOfTask(artifact.task)}">${nameOf(artifact.task)}</a> <span aria-hidden="true">›</span> <a href="${addressOfRun(artifact.task, artifact.run)}">run ${artifact.run}</a></p>
<h1>${nameOf(artifact.name)}</h1>
<p class="lead">${formatStanding(artifact, known.standing)}</p>
${formatStatements(known.statements)}${formatLastFault(known.verifications[0])}
${formatRecord(artifact, known.standing.leafIndex)}
<section aria-labelledby="get"><h2 id="get">Get it</h2>
${copyable(commandToGet(artifact.reference))}
${formatDownload(artifact, mayGet, known.statements, origin)}</section>
<section aria-labelledby="part-map"><h2 id="part-map">Parts</h2>
${formatPartMap(artifact, known.parts, {
  from: readPart(c.req.query('part')),
  isOpen: c.req.query('part') !== undefined,
  badSha256: findBadPart(known.verifications[0]),
})}</section>
<section aria-labelledby="proof"><h2 id="proof">Proof</h2>
${known.proof}</section>
<section aria-labelledby="history"><h2 id="history">Looked at</h2>
${formatVerifications(artifact, known.verifications)}</section>`,
    })
  })
}

/** The record, if the visitor may list it; the same answer when it is not there. */
async function findVisible(
  delivery: Delivery,
  principal: Principal,
  c: PageContext,
): Promise<StoredArtifact> {
  const [task = '', name = ''] = [c.req.param('task'), c.req.param('name')]
  const run = parseRunSelector(c.req.param('run') ?? '')
  const isFit = TaskName.safeParse(task).success && ArtifactName.safeParse(name).success
  if (run === undefined || !isFit || !isAllowed(principal, 'list', task, name))
    throw new ArtifactError('not_found', 'Cannot find the artifact: there is no such artifact')
  return getArtifact(delivery, principal, ['list'], { task, run, name })
}

async function readAll({ sql }: Delivery, heads: Heads, artifact: Artifact) {
  const { task, run, name } = artifact
  const [standings, parts, statements, verifications, proof] = await Promise.all([
    readStandings(sql, task, run, [name]),
    findParts(sql, artifact),
    listStatements(sql, artifact),
    listVerifications(sql, artifact, { before: undefined, limit: VERIFICATIONS }),
    formatProof(sql, heads, artifact),
  ])
  const [standing] = standings
  if (standing === undefined || parts === undefined)
    throw new Error(`${artifact.reference} lost its record`)
  return { standing, parts, statements, verifications, proof }
}

async function formatProof(sql: Delivery['sql'], heads: Heads, artifact: Artifact): Promise<Html> {
  try {
    const receipt = await findReceipt(sql, heads, artifact, RECEIPT_PATIENCE_MS)
    if (receipt === undefined && heads.newest() !== undefined)
      return html`<p>${markOf('bad', 'There is a log, and this artifact is not in it. Tell whoever runs this service.')}</p>`
    if (receipt === undefined)
      return html`<p>${markOf('plain', 'There is no log: nobody signs here, so nothing but this server vouches for the record.')}</p>`
    return formatReceiptWords(receipt, (await findLogKey(sql))?.vkey)
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error
    if (error.code === 'receipt_pending')
      return html`<p>${markOf('wait', 'It is in the log and waits for the signer. Load the page again in a moment.')}</p>`
    return html`<p>${markOf('bad', html`The log does not agree with itself: ${error.message}. Tell whoever runs this service.`)}</p>`
  }
}

function readPart(text: string | undefined): number {
  return text !== undefined && /^[0-9]{1,5}$/.test(text) ? Number(text) : 1
}

function findBadPart(last: Verification | undefined): string | undefined {
  return last?.code === 'part_mismatch' ? last.expected : undefined
}

function formatStatements(statements: readonly Statement[]): Html {
  if (statements.length === 0) return html``
  return html`<section class="alarm" aria-label="Said about it later">
${statements.map(
  ({ kind, reason, at, index }) =>
    html`<p><strong>${kind === 'remove' ? 'Its bytes were removed' : 'It was revoked'}</strong> ${timeOf(at)}: ${nameOf(reason)} <span class="dim">leaf ${index}</span></p>
`,
)}</section>`
}

function formatLastFault(last: Verification | undefined): Html {
  if (last === undefined || last.outcome === 'agreed') return html``
  const isDigest = last.code === 'part_mismatch' || last.code === 'digest_mismatch'
  const show = (text: string | undefined) =>
    text === undefined ? html`nothing` : isDigest ? digestOf(text) : html`<code>${text}</code>`
  return html`<section class="alarm" aria-labelledby="fault"><h2 id="fault">${last.outcome === 'missing' ? 'The store has no such object any more' : 'What is stored is not what was sealed'}</h2>
<p>Found ${timeOf(last.at)}. No client takes such bytes: whatever is downloaded is checked first.</p>
${
  last.outcome === 'missing'
    ? ''
    : html`<dl class="facts"><div class="fact-wide"><dt>Expected</dt><dd>${show(last.expected)}</dd></div><div class="fact-wide"><dt>Found</dt><dd>${show(last.found)}</dd></div></dl>`
}</section>`
}

function formatRecord(artifact: Artifact, leafIndex: number | undefined): Html {
  const { sha256, sizeBytes, contentType, labels, openedAt, sealedAt, sealedBy, policy } = artifact
  const seconds = (Date.parse(sealedAt) - Date.parse(openedAt)) / 1000
  return html`<section aria-labelledby="record"><h2 id="record" class="unseen">Record</h2>
<dl class="facts">
<div class="fact-wide"><dt>SHA-256</dt><dd>${digestOf(sha256)}<button type="button" class="copy" data-copy="${sha256}" aria-label="Copy SHA-256" hidden>Copy</button></dd></div>
<div><dt>Size</dt><dd>${sizeOf(sizeBytes)}</dd></div>
<div><dt>Sealed</dt><dd>${timeOf(sealedAt)}</dd></div>
<div><dt>By</dt><dd title="Token ${sealedBy.tokenId}">${nameOf(sealedBy.tokenName)}</dd></div>
<div><dt>Took</dt><dd>${formatTook(seconds)} <span class="dim">from opening to seal</span></dd></div>
<div><dt>Checked</dt><dd>${formatSealCheck(policy)}</dd></div>
<div><dt>Log</dt><dd>${leafIndex === undefined ? 'not in it' : html`leaf ${leafIndex}`}</dd></div>
<div><dt>Type</dt><dd>${nameOf(contentType)}</dd></div>
<div class="fact-wide"><dt>Reference</dt><dd>${copyable(artifact.reference)}</dd></div>
${Object.keys(labels).length === 0 ? '' : html`<div class="fact-wide"><dt>Labels</dt><dd>${formatLabels(labels)}</dd></div>`}
</dl></section>`
}

function formatVerifications(artifact: Artifact, verifications: readonly Verification[]): Html {
  return html`<div class="ledger-scroll"><table class="ledger ledger-small">
<thead><tr><th scope="col">When</th><th scope="col">Outcome</th><th scope="col" class="number">Read</th><th scope="col" class="number">Took</th></tr></thead><tbody>
${verifications.map(
  (
    seen,
  ) => html`<tr><th scope="row">${timeOf(seen.at)}</th><td data-label="Outcome">${formatOutcome(seen)}</td><td data-label="Read" class="number">${sizeOf(seen.bytes)}</td><td data-label="Took" class="number">${formatTook(seen.seconds)}</td></tr>
`,
)}<tr><th scope="row">${timeOf(artifact.sealedAt)}</th><td data-label="Outcome">${markOf('good', formatSealCheck(artifact.policy))}</td><td data-label="Read" class="number">${artifact.policy === 'reread' ? sizeOf(artifact.sizeBytes) : ''}</td><td data-label="Took" class="number"></td></tr>
</tbody></table></div>
${verifications.length < VERIFICATIONS ? '' : html`<p class="fine">The last ${VERIFICATIONS} looks and the seal; there were more.</p>`}`
}
