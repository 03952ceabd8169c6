/** `/search`: a reference or a part of one, or a digest or its beginning. */
import { html } from 'hono/html'
import { ArtifactName, TaskName } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { isAllowed, isAllowedSomewhere, type Principal } from '../access/scopes.ts'
import { type Delivery, resolveRun } from '../delivery/artifacts.ts'
import type { App } from '../http/mount.ts'
import { findArtifact, listArtifacts } from '../records/artifacts.ts'
import { type FoundArtifact, findByDigest } from '../records/inspection.ts'
import { listTasks } from '../records/tasks.ts'
import { addressOfArtifact, addressOfRun, addressOfTask } from './addresses.ts'
import { shortDigest } from './copyable.ts'
import { type InspectorParts, mountPage, renderPage } from './page.ts'
import { emptyState, type Html, nameOf, sizeOf, timeOf } from './pieces.ts'
import { parseRunSelector } from './run-page.ts'

/** Shown of each kind, and looked at to find those that the visitor may see. */
const SHOWN = 100
const LOOKS = 1000
/** Fewer digits of a digest would find by chance. */
const DIGEST_DIGITS_MIN = 8
/** A task, a run and a name of their longest, and room for what was pasted around them. */
const QUERY_LENGTH_MAX = 700

/** What a search found. */
interface Found {
  tasks: readonly string[]
  runs: readonly { task: string; run: number }[]
  artifacts: readonly FoundArtifact[]
  /** There was more than is shown. */
  isCut: boolean
}

/** Mounts the search. */
export function mountSearchPage(app: App, { delivery }: InspectorParts): void {
  mountPage(app, '/search', 'searchPage', async (c, principal) => {
    const query = (c.req.query('q') ?? '').trim().replaceAll('\0', '').slice(0, QUERY_LENGTH_MAX)
    const found = await search(delivery, principal, query)
    const only = findOnly(found)
    if (only !== undefined) return c.redirect(only, 303)
    const count = found.tasks.length + found.runs.length + found.artifacts.length
    return renderPage(c, {
      title: query === '' ? 'Search' : `Search: ${query}`,
      search: query,
      modules: ['copy-button.js'],
      body: html`<h1>Search</h1>
${query === '' ? formatHelp() : count === 0 ? formatNone(query) : formatFound(query, found)}`,
    })
  })
}

async function search(delivery: Delivery, principal: Principal, query: string): Promise<Found> {
  const digest = parseDigest(query)
  const isDigestAlone = digest?.length === 64 || /^sha-?256[:=]/i.test(query)
  const byDigest =
    digest === undefined ? [] : await findVisibleByDigest(delivery, principal, digest)
  const byName = isDigestAlone ? NOTHING : await findByReference(delivery, principal, query)
  const artifacts = [...byDigest, ...byName.artifacts]
  return {
    ...byName,
    artifacts: artifacts.slice(0, SHOWN),
    isCut: byName.isCut || artifacts.length > SHOWN,
  }
}

const NOTHING: Found = { tasks: [], runs: [], artifacts: [], isCut: false }

/** The digits of a digest or its beginning, lower case; `undefined` when it is none. */
function parseDigest(query: string): string | undefined {
  const digits = query.replace(/^sha-?256[:=]/i, '').replace(/\s+/g, '')
  return digits.length >= DIGEST_DIGITS_MIN && /^[0-9a-f]{1,64}$/i.test(digits)
    ? digits.toLowerCase()
    : undefined
}

async function findVisibleByDigest(
  { sql }: Delivery,
  principal: Principal,
  digest: string,
): Promise<FoundArtifact[]> {
  return (await findByDigest(sql, digest, LOOKS))
    .filter(({ task, name }) => isAllowed(principal, 'list', task, name))
    .slice(0, SHOWN + 1)
}

/** `task`, `task/run` or `task/run/name`, of which the last part may be a beginning. */
async function findByReference(
  delivery: Delivery,
  principal: Principal,
  query: string,
): Promise<Found> {
  const [task = '', runText, ...rest] = query.split('/')
  if (runText === undefined) return findTasks(delivery, principal, task)
  if (!TaskName.safeParse(task).success) return NOTHING
  const selector = parseRunSelector(runText)
  if (runText === '') return findTasks(delivery, principal, task, true)
  if (selector === undefined) return NOTHING
  const name = rest.join('/')
  if (name !== '' && selector === 'latest') {
    const latest = await findNamed(delivery, principal, task, selector, name)
    if (latest !== undefined) return { ...NOTHING, artifacts: [latest] }
  }
  const run = await resolveRun(delivery, principal, task, selector).catch(unlessAbsent)
  if (run === undefined) return NOTHING
  if (name === '') return { ...NOTHING, runs: [{ task, run }] }
  const exact = await findNamed(delivery, principal, task, run, name)
  if (exact !== undefined) return { ...NOTHING, artifacts: [exact] }
  const begun = await listArtifacts(delivery.sql, task, run, {
    ...{ prefix: name, after: '', limit: LOOKS },
  })
  const visible = begun
    .filter((artifact) => isAllowed(principal, 'list', task, artifact.name))
    .map(toFound)
  return { ...NOTHING, artifacts: visible.slice(0, SHOWN), isCut: visible.length > SHOWN }
}

async function findTasks(
  { sql }: Delivery,
  principal: Principal,
  prefix: string,
  isExact = false,
): Promise<Found> {
  if (prefix === '') return NOTHING
  const page = { prefix, after: '', limit: isExact ? 1 : LOOKS }
  const tasks = (await listTasks(sql, page))
    .map(({ task }) => task)
    .filter((task) => isAllowedSomewhere(principal, 'list', task) && (!isExact || task === prefix))
  return { ...NOTHING, tasks: tasks.slice(0, SHOWN), isCut: tasks.length > SHOWN }
}

async function findNamed(
  { sql }: Delivery,
  principal: Principal,
  task: string,
  run: number | 'latest',
  name: string,
): Promise<FoundArtifact | undefined> {
  if (!ArtifactName.safeParse(name).success || !isAllowed(principal, 'list', task, name))
    return undefined
  const stored = await findArtifact(sql, task, run, name)
  return stored && toFound(stored.artifact)
}

function toFound(artifact: {
  task: string
  run: number
  name: string
  sha256: string
  sizeBytes: string
  sealedAt: string
}): FoundArtifact {
  const { task, run, name, sha256, sizeBytes, sealedAt } = artifact
  return {
    ...{ task, run, name, sha256 },
    ...{ sizeBytes: BigInt(sizeBytes), sealedAt: new Date(sealedAt) },
  }
}

function unlessAbsent(error: unknown): undefined {
  if (error instanceof ArtifactError && error.code === 'not_found') return undefined
  throw error
}

/** The address of the only thing that was found. */
function findOnly({ tasks, runs, artifacts }: Found): string | undefined {
  if (tasks.length + runs.length + artifacts.length !== 1) return undefined
  const [[task], [run], [artifact]] = [tasks, runs, artifacts]
  if (task !== undefined) return addressOfTask(task)
  if (run !== undefined) return addressOfRun(run.task, run.run)
  return artifact && addressOfArtifact(artifact)
}

function formatHelp(): Html {
  return html`<p>Paste a SHA-256, or the first eight digits of one or more, and find the artifacts that have it. Or type a reference, or its beginning:</p>
<dl class="facts">
<div><dt>A task</dt><dd><code>turtle</code> finds every task that starts so</dd></div>
<div><dt>A run</dt><dd><code>turtle-db/7</code> or <code>turtle-db/latest</code></dd></div>
<div><dt>An artifact</dt><dd><code>turtle-db/latest/db.dump</code></dd></div>
<div><dt>A digest</dt><dd><code>sha256:9f86d081…</code> in either case, with or without the prefix</dd></div>
</dl>`
}

function formatNone(query: string): Html {
  const isNearlyDigest = /^(sha-?256[:=])?[0-9a-f\s]{1,7}$/i.test(query)
  return html`${emptyState(`Nothing that you may list is ${parseDigest(query) === undefined ? 'called' : 'known by'} “${query}”.`)}
${isNearlyDigest ? html`<p>To look for a digest, give at least its first ${DIGEST_DIGITS_MIN} digits.</p>` : ''}
${parseDigest(query) === undefined ? '' : html`<p>If you hold a file with this SHA-256, nothing that your token may list vouches for it.</p>`}
<section aria-labelledby="findable"><h2 id="findable">What can be found</h2>
${formatHelp()}</section>`
}

function formatFound(query: string, { tasks, runs, artifacts, isCut }: Found): Html {
  return html`<p>Found for <strong>${nameOf(query)}</strong>${isCut ? `, the first ${SHOWN} of each kind; type more to find fewer` : ''}:</p>
${
  tasks.length === 0
    ? ''
    : html`<section aria-labelledby="tasks"><h2 id="tasks">Tasks</h2><ul class="plain">
${tasks.map((task) => html`<li><a href="${addressOfTask(task)}">${nameOf(task)}</a></li>`)}</ul></section>`
}
${runs.map(({ task, run }) => html`<p><a href="${addressOfRun(task, run)}">${nameOf(`${task}/${run}`)}</a></p>`)}
${artifacts.length === 0 ? '' : formatArtifacts(artifacts)}`
}

function formatArtifacts(artifacts: readonly FoundArtifact[]): Html {
  return html`<section aria-labelledby="artifacts"><h2 id="artifacts">Artifacts</h2>
<div class="ledger-scroll"><table class="ledger"><thead><tr><th scope="col">Reference</th><th scope="col" class="number">Size</th><th scope="col">SHA-256</th><th scope="col">Sealed</th></tr></thead><tbody>
${artifacts.map(
  (
    artifact,
  ) => html`<tr><th scope="row"><a href="${addressOfArtifact(artifact)}">${nameOf(`${artifact.task}/${artifact.run}/${artifact.name}`)}</a></th><td data-label="Size" class="number">${sizeOf(artifact.sizeBytes)}</td><td data-label="SHA-256">${shortDigest(artifact.sha256)}</td><td data-label="Sealed">${timeOf(artifact.sealedAt.toISOString())}</td></tr>
`,
)}</tbody></table></div></section>`
}
