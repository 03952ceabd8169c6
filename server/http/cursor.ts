/** Where a page of uploads ended: `openedAt "," id`, opaque to clients. */
import { z } from 'zod'
import type { UploadCursor } from '../records/uploads.ts'
import { invalid } from './mount.ts'

const Cursor = z.tuple([z.iso.datetime(), z.uuid()])

/** `openedAt,id`, the place of an upload in the list, latest first. */
export function formatCursor({ openedAt, id }: UploadCursor): string {
  return `${openedAt.toISOString()},${id}`
}

/** Throws `invalid_request`. */
export function parseCursor(text: string): UploadCursor {
  const result = Cursor.safeParse(text.split(','))
  if (!result.success)
    throw invalid([{ field: 'after', expected: 'the "next" of a page', found: text }])
  const [openedAt, id] = result.data
  return { openedAt: new Date(openedAt), id }
}
