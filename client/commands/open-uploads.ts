import type { RunSelector } from '../../schemas/reference.ts'
import type { Upload } from '../../schemas/upload.ts'
import { call } from '../api.ts'
import type { Connection } from '../transfer/connection.ts'
import { readPages } from './pages.ts'

/** The open uploads of one reference, the latest opened first; `latest` means any run. */
export async function findOpenUploads(
  connection: Connection,
  { task, run, name }: { task: string; run: RunSelector; name: string },
  signal: AbortSignal,
): Promise<Upload[]> {
  const found: Upload[] = []
  const pages = readPages((page) =>
    call(connection, 'listUploads', { query: { task, ...page } }, { signal }),
  )
  for await (const { items } of pages)
    found.push(
      ...items.filter((each) => each.name === name && (run === 'latest' || each.run === run)),
    )
  return found
}
