/** What needs a person: artifacts whose stored bytes do not agree with their record any more. */
import { html } from 'hono/html'
import { isAllowed, type Principal } from '../access/scopes.ts'
import type { Sql } from '../records/database.ts'
import { listFaults } from '../records/verification.ts'
import { addressOfArtifact } from './addresses.ts'
import { type Html, nameOf, timeOf } from './pieces.ts'

/** Looked at and shown. */
const FAULTS_MAX = 50
const SHOWN_MAX = 10

/** A warning with the artifacts that the visitor may list; nothing when all that was read agrees. */
export async function formatFaults(
  sql: Sql,
  principal: Principal,
  isWanted: (task: string) => boolean = () => true,
): Promise<Html> {
  const faults = (await listFaults(sql, FAULTS_MAX)).filter(
    ({ task, name }) => isWanted(task) && isAllowed(principal, 'list', task, name),
  )
  if (faults.length === 0) return html``
  const count = faults.length === 1 ? 'One artifact does' : `${faults.length} artifacts do`
  return html`<section class="alarm" aria-labelledby="alarm-title">
<h2 id="alarm-title">${count} not agree with the record any more</h2>
<p>The bytes in the store were read again and are not those that were sealed. No client takes them: what is downloaded is checked.</p>
<ul>
${faults.slice(0, SHOWN_MAX).map(
  ({ task, run, name, last }) =>
    html`<li><a href="${addressOfArtifact({ task, run, name })}">${nameOf(`${task}/${run}/${name}`)}</a>: ${last.outcome === 'missing' ? 'missing from the store' : 'altered in the store'}, found ${timeOf(last.at)}</li>
`,
)}</ul>
</section>`
}
