/** The present as one picture: what the live feed begins with, and what the first page shows. */
import type { Upload } from '../../schemas/upload.ts'
import { isAllowed, type Principal } from '../access/scopes.ts'
import { describeUpload } from '../intake/uploads.ts'
import type { AnySql, Sql } from '../records/database.ts'
import { findEventRange } from '../records/events.ts'
import { formatUpload, type UploadRecord } from '../records/upload-row.ts'
import { listEndedUploads, listUploads } from '../records/uploads.ts'

/** Active uploads in one picture. */
export const PICTURE_MAX = 1000
/** Ended uploads that are looked through for those that somebody may see. */
const ENDED_SCAN_MAX = 500

/** Every active upload at one moment. */
export interface Picture {
  /** Id of the last event that is in it. */
  last: bigint
  uploads: UploadRecord[]
}

/** Every active upload as one consistent picture, and the id of the last event that is in it. */
export async function readPicture(sql: Sql): Promise<Picture> {
  return sql.begin('isolation level repeatable read read only', (tx) => readPictureIn(tx))
}

async function readPictureIn(tx: AnySql): Promise<Picture> {
  const { last } = await findEventRange(tx)
  const uploads = await listUploads(tx, {
    state: 'active',
    task: undefined,
    after: undefined,
    limit: PICTURE_MAX,
  })
  return { last, uploads }
}

/** What somebody sees of the present. */
export interface View {
  /** Id of the last event that is in it. */
  last: bigint
  /** The oldest first. */
  active: Upload[]
  /** The last that ended, the latest first; at most `endedMax`. */
  ended: Upload[]
  /** Whether there are more active uploads than a picture holds. */
  isPartial: boolean
}

/** The picture with the last uploads that ended, as far as the principal may list them. */
export async function readView(sql: Sql, principal: Principal, endedMax: number): Promise<View> {
  const isVisible = ({ task, name }: UploadRecord) => isAllowed(principal, 'list', task, name)
  const { last, uploads, ended } = await sql.begin(
    'isolation level repeatable read read only',
    async (tx) => ({
      ...(await readPictureIn(tx)),
      ended: await listEndedUploads(tx, ENDED_SCAN_MAX),
    }),
  )
  const active = uploads.filter(isVisible).map((upload) => formatUpload(upload))
  const shown = ended.filter(isVisible).slice(0, endedMax)
  return {
    last,
    active: active.toSorted(byAge),
    // A sealed upload never changes again: its artifact may be read after the picture was taken.
    ended: await Promise.all(shown.map((upload) => describeUpload(sql, upload))),
    isPartial: uploads.length === PICTURE_MAX,
  }
}

function byAge(one: Upload, other: Upload): number {
  const [first, second] = [one.openedAt + one.id, other.openedAt + other.id]
  return first < second ? -1 : 1
}
