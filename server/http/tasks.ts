/** Doors of `/v1/tasks`: tasks, their runs, and what is sealed in them. */
import { endpoints } from '../../schemas/api.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { isAllowed, isAllowedSomewhere } from '../access/scopes.ts'
import {
  type Delivery,
  formatChecksums,
  getArtifact,
  getArtifactParts,
  grantContent,
  resolveRun,
} from '../delivery/artifacts.ts'
import { listArtifacts } from '../records/artifacts.ts'
import { allotRun, listRuns, listTasks } from '../records/tasks.ts'
import { listVerifications } from '../records/verification.ts'
import { type App, mount, reply } from './mount.ts'

/** Doors to tasks, runs and artifacts. */
export function mountTasks(app: App, delivery: Delivery): void {
  const { sql } = delivery

  mount(app, 'listTasks', endpoints.listTasks, async ({ query, principal }) => {
    const { prefix = '', after = '', limit } = query
    const tasks = await listTasks(sql, { prefix, after, limit })
    const items = tasks.filter(({ task }) => isAllowedSomewhere(principal, 'list', task))
    const next = tasks.length < limit ? null : (tasks.at(-1)?.task ?? null)
    return reply(200, { items, next })
  })

  mount(app, 'listRuns', endpoints.listRuns, async ({ params, query, principal }) => {
    const { task } = params
    const isVisible = isAllowedSomewhere(principal, 'list', task)
    const page = { before: query.after, limit: query.limit }
    const items = isVisible ? await listRuns(sql, task, page) : []
    if (items.length === 0 && query.after === undefined)
      throw new ArtifactError('not_found', `Cannot find task ${task}: there is none`)
    const next = items.length < query.limit ? null : String(items.at(-1)?.run)
    return reply(200, { items, next })
  })

  mount(app, 'allotRun', endpoints.allotRun, async ({ params, body, principal }) => {
    if (!isAllowedSomewhere(principal, 'upload', params.task))
      throw new ArtifactError(
        'forbidden',
        `Cannot allot a run of ${params.task}: no scope covers it`,
      )
    const { run, isNew } = await allotRun(sql, params.task, body.requestId)
    return reply(isNew ? 201 : 200, run)
  })

  mount(app, 'listArtifacts', endpoints.listArtifacts, async ({ params, query, principal }) => {
    const { task } = params
    const run = await resolveRun(delivery, principal, task, params.run)
    const { prefix = '', after = '', limit } = query
    const artifacts = await listArtifacts(sql, task, run, { prefix, after, limit })
    const items = artifacts.filter(({ name }) => isAllowed(principal, 'list', task, name))
    const next = artifacts.length < limit ? null : (artifacts.at(-1)?.name ?? null)
    return reply(200, { items, next })
  })

  // Before the record, whose name takes all that follows it.
  mount(
    app,
    'getArtifactParts',
    endpoints.getArtifactParts,
    async ({ params, principal }) => {
      const { artifact } = await getArtifact(delivery, principal, ['get', 'list', 'upload'], params)
      return reply(200, await getArtifactParts(delivery, artifact))
    },
    { anonymous: delivery.settings.publicRead },
  )

  mount(app, 'listVerifications', endpoints.listVerifications, async (request) => {
    const { params, query, principal } = request
    const { artifact } = await getArtifact(delivery, principal, ['get', 'list', 'upload'], params)
    const before = query.after === undefined ? undefined : new Date(query.after)
    const items = await listVerifications(sql, artifact, { before, limit: query.limit })
    const next = items.length < query.limit ? null : (items.at(-1)?.at ?? null)
    return reply(200, { items, next })
  })

  mount(
    app,
    'getArtifact',
    endpoints.getArtifact,
    async ({ params, principal }) => {
      const { artifact } = await getArtifact(delivery, principal, ['get', 'list', 'upload'], params)
      return reply(200, artifact)
    },
    { anonymous: delivery.settings.publicRead },
  )

  mount(
    app,
    'getContent',
    endpoints.getContent,
    async ({ params, principal, headers: asked }) => {
      const stored = await getArtifact(delivery, principal, ['get'], params)
      const digest = Buffer.from(stored.artifact.sha256, 'hex').toString('base64')
      const headers = { 'repr-digest': `sha-256=:${digest}:`, 'cache-control': 'no-store' }
      if (asked.get('accept')?.includes('application/json')) {
        const body = await grantContent(delivery, stored, true)
        return reply(200, body, headers)
      }
      const { url } = await grantContent(delivery, stored, false)
      return { raw: new Response(null, { status: 303, headers: { ...headers, location: url } }) }
    },
    { anonymous: delivery.settings.publicRead },
  )

  mount(app, 'getChecksums', endpoints.getChecksums, async ({ params, principal }) => {
    const run = await resolveRun(delivery, principal, params.task, params.run)
    const lines = formatChecksums(delivery, principal, params.task, run)
    const headers = { 'content-type': 'text/plain; charset=utf-8' }
    return { raw: new Response(ReadableStream.from(encode(lines)), { headers }) }
  })
}

async function* encode(texts: AsyncIterable<string>): AsyncIterable<Uint8Array> {
  const encoder = new TextEncoder()
  for await (const text of texts) yield encoder.encode(text)
}
