/** `/tasks`: every task, by name. */
import { html } from 'hono/html'
import { isAllowedSomewhere, type Principal } from '../access/scopes.ts'
import type { App } from '../http/mount.ts'
import type { Sql } from '../records/database.ts'
import { summariseTasks, type TaskSummary } from '../records/inspection.ts'
import { listTasks } from '../records/tasks.ts'
import { addressOfRun, addressOfTask } from './addresses.ts'
import { formatFaults } from './faults.ts'
import { type InspectorParts, mountPage, renderPage } from './page.ts'
import { emptyState, type Html, nameOf, timeOf } from './pieces.ts'

const ROWS = 50
/** Tasks looked at for one page, when few of them are the visitor's. */
const LOOKS_MAX = 5000
const LOOKS = 1000

/** Mounts the list of tasks. */
export function mountTasksPage(app: App, { delivery: { sql } }: InspectorParts): void {
  mountPage(app, '/tasks', 'tasksPage', async (c, principal) => {
    // A task has 128 characters at most; Postgres takes no NUL.
    const prefix = (c.req.query('prefix') ?? '').trim().replaceAll('\0', '').slice(0, 128)
    const after = (c.req.query('after') ?? '').replaceAll('\0', '').slice(0, 128)
    const { tasks, next } = await findVisible(sql, principal, prefix, after)
    const summaries = await summariseTasks(sql, tasks)
    return renderPage(c, {
      title: prefix === '' ? 'Tasks' : `Tasks that start with ${prefix}`,
      nav: 'tasks',
      body: html`<h1>Tasks</h1>
${await formatFaults(sql, principal)}
<form class="filter" action="/tasks" method="get">
<label for="prefix">Starts with</label>
<input id="prefix" name="prefix" type="text" maxlength="128" autocomplete="off" autocapitalize="none" spellcheck="false" value="${prefix}">
<button>Show</button>
${prefix === '' ? '' : html`<a href="/tasks">All tasks</a>`}
</form>
${summaries.length === 0 ? formatNone(prefix, after, next) : formatTable(summaries)}
${next === undefined ? '' : formatNext(prefix, next)}`,
    })
  })
}

/** The tasks that the visitor may list anything of, and where the list goes on. */
async function findVisible(
  sql: Sql,
  principal: Principal,
  prefix: string,
  after: string,
): Promise<{ tasks: string[]; next: string | undefined }> {
  const found: string[] = []
  let last = after
  for (let looks = 0; looks < LOOKS_MAX; looks += LOOKS) {
    const limit = looks === 0 ? ROWS + 1 : LOOKS
    const tasks = await listTasks(sql, { prefix, after: last, limit })
    for (const { task } of tasks)
      if (isAllowedSomewhere(principal, 'list', task)) {
        if (found.length === ROWS) return { tasks: found, next: found.at(-1) }
        found.push(task)
      }
    last = tasks.at(-1)?.task ?? last
    if (tasks.length < limit) return { tasks: found, next: undefined }
  }
  return { tasks: found, next: last }
}

function formatTable(summaries: readonly TaskSummary[]): Html {
  return html`<div class="ledger-scroll"><table class="ledger">
<thead><tr><th scope="col">Task</th><th scope="col">Latest run</th><th scope="col">Last sealed</th></tr></thead>
<tbody>
${summaries.map(
  ({ task, run, sealedRun, sealedAt }) => html`<tr>
<th scope="row"><a href="${addressOfTask(task)}">${nameOf(task)}</a></th>
<td data-label="Latest run">${run === undefined ? html`<span class="dim">none yet</span>` : html`<a href="${addressOfRun(task, run)}">${run}</a>${sealedRun === run ? '' : html` <span class="dim">nothing sealed in it yet</span>`}`}</td>
<td data-label="Last sealed">${sealedAt === undefined ? html`<span class="dim">never</span>` : timeOf(sealedAt.toISOString())}</td>
</tr>
`,
)}</tbody></table></div>`
}

function formatNone(prefix: string, after: string, next: string | undefined): Html {
  if (next !== undefined || after !== '')
    return emptyState('None of the tasks looked at here is one that your token may list.')
  if (prefix !== '') return emptyState(`No task that you may list starts with “${prefix}”.`)
  return emptyState(
    'There is no task yet that you may list. The first upload makes one:',
    'artifact upload backup.dump nightly-backup',
  )
}

function formatNext(prefix: string, next: string): Html {
  const query = new URLSearchParams({ ...(prefix === '' ? {} : { prefix }), after: next })
  return html`<nav class="pager" aria-label="Pages"><a rel="next" href="/tasks?${query.toString()}">More tasks</a></nav>`
}
