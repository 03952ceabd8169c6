/**
 * Goes through a listing page by page. `limit` items at most are asked for and given, all without it.
 */
import { PAGE_MAX } from '../../schemas/pages.ts'

export interface Page<T> {
  items: T[]
  next: string | null
}

export interface PageRequest {
  after?: string
  limit: number
}

/** The pages of a listing; `isCut` tells on the last one that the limit, not the end, was reached. */
export async function* readPages<T>(
  fetchPage: (request: PageRequest) => Promise<Page<T>>,
  limit: number = Number.POSITIVE_INFINITY,
): AsyncGenerator<{ items: T[]; isCut: boolean }> {
  let left = limit
  let after: string | null | undefined
  do {
    const page = await fetchPage({
      // One beyond the limit tells whether there is more.
      limit: Math.min(PAGE_MAX, left + 1),
      ...(typeof after === 'string' ? { after } : {}),
    })
    after = page.next
    const isCut = page.items.length > left
    const items = isCut ? page.items.slice(0, left) : page.items
    left -= items.length
    yield { items, isCut: isCut || (left === 0 && after !== null) }
  } while (after !== null && left > 0)
}
