/** Doors of `/v1/uploads`. */
import { endpoints } from '../../schemas/api.ts'
import { isAllowed } from '../access/scopes.ts'
import { grantParts } from '../intake/grants.ts'
import { openUpload } from '../intake/open.ts'
import type { Intake } from '../intake/session.ts'
import {
  abortUpload,
  describeUpload,
  getOwnUpload,
  inspectUpload,
  reportProgress,
} from '../intake/uploads.ts'
import type { Heads } from '../log/heads.ts'
import { findProof } from '../log/tiles.ts'
import { listUploads } from '../records/uploads.ts'
import type { Sealer } from '../seal/seal.ts'
import { formatCursor, parseCursor } from './cursor.ts'
import { type App, mount, reply } from './mount.ts'

/** How long a seal that is done waits for the signer. */
const RECEIPT_PATIENCE_MS = 5000

/** Doors to uploads: open, grant, report, seal, abort. */
export function mountUploads(app: App, intake: Intake, sealer: Sealer, heads: Heads): void {
  const { sql } = intake

  mount(app, 'openUpload', endpoints.openUpload, async ({ body, principal }) => {
    const { opened, isNew } = await openUpload(intake, principal, body)
    return reply(isNew ? 201 : 200, opened)
  })

  mount(app, 'listUploads', endpoints.listUploads, async ({ query, principal }) => {
    const records = await listUploads(sql, {
      state: query.state,
      task: query.task,
      after: query.after === undefined ? undefined : parseCursor(query.after),
      limit: query.limit,
    })
    const visible = records.filter(({ task, name }) => isAllowed(principal, 'list', task, name))
    const items = await Promise.all(visible.map((record) => describeUpload(sql, record)))
    const last = records.length < query.limit ? undefined : records.at(-1)
    return reply(200, { items, next: last === undefined ? null : formatCursor(last) })
  })

  mount(app, 'getUpload', endpoints.getUpload, async ({ params, principal }) => {
    const record = await getOwnUpload(sql, principal, params.id)
    return reply(200, await inspectUpload(intake, record))
  })

  mount(app, 'abortUpload', endpoints.abortUpload, async ({ params, principal }) => {
    const record = await getOwnUpload(sql, principal, params.id)
    return reply(200, await abortUpload(intake, record))
  })

  mount(app, 'requestGrants', endpoints.requestGrants, async ({ params, body, principal }) => {
    const record = await getOwnUpload(sql, principal, params.id)
    return reply(200, { grants: await grantParts(intake, record, body.parts) })
  })

  mount(app, 'reportProgress', endpoints.reportProgress, async ({ params, body, principal }) => {
    const record = await getOwnUpload(sql, principal, params.id)
    return reply(200, await reportProgress(intake, record, body))
  })

  mount(app, 'sealUpload', endpoints.sealUpload, async ({ params, body, principal }) => {
    const record = await getOwnUpload(sql, principal, params.id)
    const upload = await describeUpload(sql, await sealer.requestSeal(record, body))
    if (upload.state !== 'sealed') return reply(202, upload)
    const question = { since: body.since, patienceMs: RECEIPT_PATIENCE_MS }
    const proof = body.receipt ? await findProof(sql, heads, upload.artifact, question) : undefined
    return reply(200, { ...upload, ...proof })
  })
}
