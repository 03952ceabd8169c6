/** `/tasks/:task`: how its artifacts change from run to run, and its runs. */
import { html } from 'hono/html'
import { RUN_MAX, TaskName } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { isAllowed, isAllowedSomewhere, type Principal } from '../access/scopes.ts'
import type { App } from '../http/mount.ts'
import { findLatestRun } from '../records/artifacts.ts'
import type { Sql } from '../records/database.ts'
import { type ArtifactLine, listNameLines, listRunLines } from '../records/inspection.ts'
import { listRuns } from '../records/tasks.ts'
import { addressOfArtifact, addressOfRun, addressOfTask } from './addresses.ts'
import { formatSize } from './browser/measures.js'
import { barChart, describeDeparture } from './chart.ts'
import { formatFaults } from './faults.ts'
import { type InspectorParts, mountPage, renderPage } from './page.ts'
import { emptyState, type Html, nameOf, sizeOf, timeOf } from './pieces.ts'
import { formatTook } from './standing.ts'

const RUNS = 25
/** Artifacts of a run that are looked at; what is beyond them is on the page of the run. */
const LINES_PER_RUN = 200
/** Names with a chart, and runs in it. */
const CHARTS = 8
const CHART_RUNS = 30
/** Runs before one that say what is usual. */
const USUAL_RUNS = 10

/** Mounts the page of a task. */
export function mountTaskPage(app: App, { delivery: { sql } }: InspectorParts): void {
  mountPage(app, '/tasks/:task', 'taskPage', async (c, principal) => {
    const task = c.req.param('task') ?? ''
    const before = readRun(c.req.query('before'))
    const isVisible =
      TaskName.safeParse(task).success && isAllowedSomewhere(principal, 'list', task)
    const runs = isVisible ? await listRuns(sql, task, { before, limit: RUNS + 1 }) : []
    if (runs.length === 0 && before === undefined)
      throw new ArtifactError('not_found', `Cannot find task ${task}: there is none`)
    const shown = runs.slice(0, RUNS)
    const numbers = shown.map(({ run }) => run)
    const lines = (await listRunLines(sql, task, numbers, LINES_PER_RUN)).filter(({ name }) =>
      isAllowed(principal, 'list', task, name),
    )
    const next = runs.length > RUNS ? numbers.at(-1) : undefined
    return renderPage(c, {
      title: task,
      nav: 'tasks',
      body: html`<p class="trail"><a href="/tasks">Tasks</a></p>
<h1>${nameOf(task)}</h1>
${await formatFaults(sql, principal, (each) => each === task)}
${before === undefined ? await formatHistories(sql, principal, task) : ''}
<section aria-labelledby="runs"><h2 id="runs">Runs${before === undefined ? '' : ` before ${before}`}</h2>
${shown.length === 0 ? emptyState('There are no runs before that one.') : formatRuns(task, shown, lines)}
</section>
${next === undefined ? '' : html`<nav class="pager" aria-label="Pages"><a rel="next" href="${addressOfTask(task)}?before=${next}">Earlier runs</a></nav>`}`,
    })
  })
}

function readRun(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined
  return Math.min(Number(text), RUN_MAX)
}

function formatRuns(
  task: string,
  runs: readonly { run: number; openedAt: string }[],
  lines: readonly ArtifactLine[],
): Html {
  return html`<div class="ledger-scroll"><table class="ledger">
<thead><tr><th scope="col">Run</th><th scope="col">Opened</th><th scope="col">Sealed</th><th scope="col" class="number">Size</th><th scope="col">Artifacts</th></tr></thead>
<tbody>
${runs.map(({ run, openedAt }) => {
  const own = lines.filter((line) => line.run === run)
  const isCut = own.length >= LINES_PER_RUN
  const sizeBytes = own.reduce((sum, line) => sum + line.sizeBytes, 0n)
  const sealedAt = own.reduce((last, line) => Math.max(last, line.sealedAt.getTime()), 0)
  return html`<tr>
<th scope="row"><a href="${addressOfRun(task, run)}">${run}</a></th>
<td data-label="Opened">${timeOf(openedAt)}</td>
<td data-label="Sealed">${own.length === 0 ? html`<span class="dim">nothing yet</span>` : timeOf(new Date(sealedAt).toISOString())}</td>
<td data-label="Size" class="number">${own.length === 0 ? '' : html`${isCut ? 'over ' : ''}${sizeOf(sizeBytes)}`}</td>
<td data-label="Artifacts">${formatNames(task, own, isCut)}</td>
</tr>
`
})}</tbody></table></div>`
}

/** Names that are written out in the line of a run. */
const NAMES = 3

function formatNames(task: string, lines: readonly ArtifactLine[], isCut: boolean): Html {
  const more = lines.length - NAMES
  return html`${lines
    .slice(0, NAMES)
    .map(
      (line, index) =>
        html`${index === 0 ? '' : ', '}<a href="${addressOfArtifact({ task, ...line })}">${nameOf(line.name)}</a>`,
    )}${more > 0 ? html` <span class="dim">and ${isCut ? `more than ${more}` : more} more</span>` : ''}`
}

/** How each name of the latest sealed run changed from run to run. */
async function formatHistories(sql: Sql, principal: Principal, task: string): Promise<Html> {
  const latest = await findLatestRun(sql, task)
  if (latest === undefined)
    return emptyState(
      'Nothing is sealed in this task yet. An upload that finishes shows here:',
      `artifact upload backup.dump ${task}`,
    )
  const names = (await listRunLines(sql, task, [latest], LINES_PER_RUN))
    .map(({ name }) => name)
    .filter((name) => isAllowed(principal, 'list', task, name))
    .slice(0, CHARTS)
  const lines = await listNameLines(sql, task, names, CHART_RUNS)
  const histories = names
    .map((name) => lines.filter((line) => line.name === name).reverse())
    .filter((history) => history.length > 1)
  if (histories.length === 0) return html``
  return html`<section aria-labelledby="histories"><h2 id="histories">From run to run</h2>
<div class="histories">
${histories.map((history) => formatHistory(task, history))}</div></section>`
}

interface Point {
  line: ArtifactLine
  seconds: number
  /** How its size departs from what is usual, in words. */
  departure: string | undefined
}

function formatHistory(task: string, history: readonly ArtifactLine[]): Html {
  const points: Point[] = history.map((line, index) => ({
    line,
    seconds: (line.sealedAt.getTime() - line.openedAt.getTime()) / 1000,
    departure: describeDeparture(
      Number(line.sizeBytes),
      history.slice(Math.max(0, index - USUAL_RUNS), index).map((each) => Number(each.sizeBytes)),
    ),
  }))
  const last = points.at(-1)
  if (last === undefined) return html``
  const odd = points.filter(({ departure }) => departure !== undefined)
  const isOdd = last.departure !== undefined
  return html`<article class="history${isOdd ? ' history-odd' : ''}">
<h3><a href="${addressOfArtifact({ task, ...last.line })}">${nameOf(last.line.name)}</a></h3>
<div class="history-pair">
<div><p class="history-now"><span class="under">Size</span>${sizeOf(last.line.sizeBytes)}</p>
${barChart(
  points.map((point, index) => ({
    value: Number(point.line.sizeBytes),
    title: `Run ${point.line.run}: ${formatSize(point.line.sizeBytes)}${point.departure === undefined ? '' : `, ${point.departure}`}`,
    isOdd: point.departure !== undefined,
    isLast: index === points.length - 1,
  })),
  `Size over ${points.length} runs, ${odd.length === 0 ? 'none unusual' : `${odd.length} unusual`}`,
)}</div>
<div><p class="history-now"><span class="under">Duration</span>${formatTook(last.seconds)}</p>
${barChart(
  points.map((point, index) => ({
    value: point.seconds,
    title: `Run ${point.line.run}: ${formatTook(point.seconds)} from opening to seal`,
    isOdd: false,
    isLast: index === points.length - 1,
  })),
  `Duration over ${points.length} runs`,
)}</div>
</div>
<p class="history-words">${isOdd ? html`<strong class="odd-words">Run ${last.line.run} is ${last.departure ?? ''}</strong>` : `Run ${last.line.run} is as usual`}${formatEarlier(odd, last)}</p>
<details><summary>The runs as a table</summary>
<table class="ledger ledger-small"><thead><tr><th scope="col">Run</th><th scope="col">Sealed</th><th scope="col" class="number">Size</th><th scope="col" class="number">Took</th><th scope="col">Against the median of the runs before</th></tr></thead><tbody>
${[...points].reverse().map(
  (
    point,
  ) => html`<tr><th scope="row"><a href="${addressOfArtifact({ task, ...point.line })}">${point.line.run}</a></th><td data-label="Sealed">${timeOf(point.line.sealedAt.toISOString())}</td><td data-label="Size" class="number">${sizeOf(point.line.sizeBytes)}</td><td data-label="Took" class="number">${formatTook(point.seconds)}</td><td data-label="Against the usual">${point.departure === undefined ? 'as usual' : html`<strong class="odd-words">${point.departure}</strong>`}</td></tr>
`,
)}</tbody></table></details>
</article>`
}

function formatEarlier(odd: readonly Point[], last: Point): string {
  const runs = odd.filter((point) => point !== last).map(({ line }) => line.run)
  if (runs.length === 0) return '.'
  const word = runs.length === 1 ? 'run' : 'runs'
  const listed = runs.slice(-5).join(', ')
  return last.departure === undefined
    ? `; ${word} ${listed} ${runs.length === 1 ? 'was' : 'were'} not.`
    : `; ${word} ${listed} ${runs.length === 1 ? 'was' : 'were'} unusual too.`
}
