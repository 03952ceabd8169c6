/** What an adversary does with a grant. */
import { once } from 'node:events'
import { request as openRequest } from 'node:http'
import { request as openSecureRequest } from 'node:https'
import type { Grant } from '../../schemas/upload.ts'
import type { Subject } from './subject.ts'

/** The address with one thing wrong, in every way there is. */
export function tamperAddress(origin: string, address: string): string[] {
  const tampered: string[] = []
  const edit = (change: (url: URL) => void) => {
    const url = new URL(address, origin)
    change(url)
    tampered.push(url.href)
  }
  edit((url) => {
    url.pathname = changeText(url.pathname)
  })
  for (const name of new Set(new URL(address, origin).searchParams.keys())) {
    edit(({ searchParams }) => searchParams.set(name, changeText(searchParams.get(name) ?? '')))
    edit(({ searchParams }) => searchParams.delete(name))
    edit(({ searchParams }) => searchParams.append(name, changeText(searchParams.get(name) ?? '')))
  }
  return tampered
}

/** Another text of the same length and kind: its last letter or digit changed. */
export function changeText(text: string): string {
  return (
    text.replace(/([A-Za-z0-9])([^A-Za-z0-9]*)$/, (_, last: string, rest: string) => {
      const other = /[0-9]/.test(last) ? String((Number(last) + 1) % 10) : last === 'a' ? 'b' : 'a'
      return other + rest
    }) || 'x'
  )
}

/** The address of one grant with the signature of another, where it stands in the address. */
export function swapSignature(origin: string, address: string, signed: string): string {
  const url = new URL(address, origin)
  const from = new URL(signed, origin)
  for (const name of ['signature', 'X-Amz-Signature']) {
    const signature = from.searchParams.get(name)
    if (signature !== null) url.searchParams.set(name, signature)
  }
  return url.href
}

/** Sends the beginning of a granted request and closes the connection for good. */
export async function sendAndHangUp(
  { origin }: Subject,
  grant: Grant,
  some: Buffer,
): Promise<void> {
  const url = new URL(grant.url, origin)
  const open = url.protocol === 'https:' ? openSecureRequest : openRequest
  const request = open(url, { method: grant.method, headers: grant.headers, agent: false })
  // Whatever it answers, or whether it does at all, is of no interest.
  request.on('error', () => undefined)
  request.on('response', (reply) => reply.resume())
  await new Promise((resolve) => request.write(some, resolve))
  const closed = once(request, 'close')
  request.socket?.end()
  await closed
}
