/** `/tasks/:task/:run`: what is sealed in a run. */
import { html } from 'hono/html'
import type { Artifact } from '../../schemas/artifact.ts'
import { RUN_MAX, TaskName } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { RunSelector } from '../../schemas/reference.ts'
import { isAllowed } from '../access/scopes.ts'
import { resolveRun } from '../delivery/artifacts.ts'
import type { App } from '../http/mount.ts'
import { listArtifacts } from '../records/artifacts.ts'
import { readStandings, type Standing } from '../records/inspection.ts'
import { addressOfArtifact, addressOfRun, addressOfTask, commandToGet } from './addresses.ts'
import { copyable, shortDigest } from './copyable.ts'
import { type InspectorParts, mountPage, renderPage } from './page.ts'
import { emptyState, type Html, nameOf, sizeOf, timeOf } from './pieces.ts'
import { formatStanding, formatTook } from './standing.ts'

const ROWS = 100

/** Mounts the page of a run. */
export function mountRunPage(app: App, { delivery }: InspectorParts): void {
  const { sql } = delivery
  mountPage(app, '/tasks/:task/:run', 'runPage', async (c, principal) => {
    const task = c.req.param('task') ?? ''
    const selector = parseRunSelector(c.req.param('run') ?? '')
    if (selector === undefined || !TaskName.safeParse(task).success) throw noRun(task)
    const run = await resolveRun(delivery, principal, task, selector)
    // A name has 512 bytes at most; Postgres takes no NUL.
    const clean = (text = '') => text.replaceAll('\0', '').slice(0, 512)
    const [prefix, after] = [clean(c.req.query('prefix')), clean(c.req.query('after'))]
    const found = await listArtifacts(sql, task, run, { prefix, after, limit: ROWS + 1 })
    const artifacts = found
      .slice(0, ROWS)
      .filter(({ name }) => isAllowed(principal, 'list', task, name))
    const names = artifacts.map(({ name }) => name)
    const standings = await readStandings(sql, task, run, names)
    const next = found.length > ROWS ? found[ROWS - 1]?.name : undefined
    const isPart = prefix !== '' || after !== '' || next !== undefined
    return renderPage(c, {
      title: `${task}/${run}`,
      nav: 'tasks',
      modules: ['copy-button.js'],
      body: html`<p class="trail"><a href="/tasks">Tasks</a> <span aria-hidden="true">›</span> <a href="${addressOfTask(task)}">${nameOf(task)}</a></p>
<h1>${nameOf(`${task}/${run}`)}</h1>
${artifacts.length === 0 && !isPart ? '' : formatCommands(task, run)}
${isPart ? formatFilter(task, run, prefix) : ''}
${artifacts.length === 0 ? formatNone(task, run, isPart) : formatTable(artifacts, standings)}
${next === undefined ? '' : formatNext(task, run, prefix, next)}`,
    })
  })
}

/** `latest`, or the number of a run; `undefined` for anything else. */
export function parseRunSelector(text: string): RunSelector | undefined {
  if (text === 'latest') return text
  return /^(0|[1-9][0-9]{0,9})$/.test(text) && Number(text) <= RUN_MAX ? Number(text) : undefined
}

function noRun(task: string): ArtifactError {
  return new ArtifactError('not_found', `Cannot find a run of ${task}: there is no such run`)
}

function formatCommands(task: string, run: number): Html {
  return html`<dl class="facts">
<div><dt>Get all of it</dt><dd>${copyable(`${commandToGet(`${task}/${run}`)} -o ${task}-${run}`)}</dd></div>
<div><dt>Check what you have</dt><dd>${copyable(`artifact checksums ${task}/${run} | sha256sum --check`)}</dd></div>
</dl>`
}

function formatFilter(task: string, run: number, prefix: string): Html {
  return html`<form class="filter" action="${addressOfRun(task, run)}" method="get">
<label for="prefix">Name starts with</label>
<input id="prefix" name="prefix" type="text" maxlength="512" autocomplete="off" autocapitalize="none" spellcheck="false" value="${prefix}">
<button>Show</button>
${prefix === '' ? '' : html`<a href="${addressOfRun(task, run)}">All of the run</a>`}
</form>`
}

function formatTable(artifacts: readonly Artifact[], standings: readonly Standing[]): Html {
  return html`<div class="ledger-scroll"><table class="ledger">
<thead><tr><th scope="col">Name</th><th scope="col" class="number">Size</th><th scope="col">SHA-256</th><th scope="col">Sealed</th><th scope="col">State</th><th scope="col">Command</th></tr></thead>
<tbody>
${artifacts.map((artifact, index) => {
  const standing = standings[index]
  const seconds = (Date.parse(artifact.sealedAt) - Date.parse(artifact.openedAt)) / 1000
  return html`<tr>
<th scope="row"><a href="${addressOfArtifact(artifact)}">${nameOf(artifact.name)}</a>${formatLabels(artifact.labels)}</th>
<td data-label="Size" class="number">${sizeOf(artifact.sizeBytes)}</td>
<td data-label="SHA-256">${shortDigest(artifact.sha256)}</td>
<td data-label="Sealed">${timeOf(artifact.sealedAt)}<span class="under">took ${formatTook(seconds)}</span></td>
<td data-label="State">${standing === undefined ? '' : formatStanding(artifact, standing)}<span class="under">${standing?.leafIndex === undefined ? 'not in the log' : `log index ${standing.leafIndex}`}</span></td>
<td data-label="Command">${copyable(commandToGet(artifact.reference), 'short')}</td>
</tr>
`
})}</tbody></table></div>`
}

/** Labels as they stand on the record. */
export function formatLabels(labels: Artifact['labels']): Html {
  const entries = Object.entries(labels)
  if (entries.length === 0) return html``
  return html`<span class="labels">${entries.map(([key, value]) => html`<span class="label">${key}=${nameOf(value)}</span> `)}</span>`
}

function formatNone(task: string, run: number, isPart: boolean): Html {
  return isPart
    ? emptyState('No name here is one that your token may list.')
    : emptyState(
        'Nothing is sealed in this run yet. Uploads that are under way are on the first page.',
        `artifact upload backup.dump ${task}/${run}`,
      )
}

function formatNext(task: string, run: number, prefix: string, next: string): Html {
  const query = new URLSearchParams({ ...(prefix === '' ? {} : { prefix }), after: next })
  return html`<nav class="pager" aria-label="Pages"><a rel="next" href="${addressOfRun(task, run)}?${query.toString()}">More artifacts</a></nav>`
}
