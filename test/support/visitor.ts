/** A browser's part without a browser: forms, cookies and pages by plain requests. */
import { request } from 'undici'
import type { TestServer } from './server.ts'

export interface PageReply {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
  /** Of the `Set-Cookie` header, if there was one. */
  cookie: string | undefined
}

export interface PageOptions {
  method?: string
  cookie?: string | undefined
  form?: Record<string, string>
  headers?: Record<string, string>
}

/** One request as a browser makes it; redirects are not followed. */
export async function visit(
  server: Pick<TestServer, 'url'>,
  path: string,
  { method, cookie, form, headers = {} }: PageOptions = {},
): Promise<PageReply> {
  const reply = await request(`${server.url}${path}`, {
    method: method ?? (form === undefined ? 'GET' : 'POST'),
    headers: {
      accept: 'text/html,application/xhtml+xml',
      ...(cookie === undefined ? {} : { cookie }),
      ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      ...headers,
    },
    body: form === undefined ? null : new URLSearchParams(form).toString(),
  })
  const [set] = [reply.headers['set-cookie']].flat()
  return {
    status: reply.statusCode,
    headers: reply.headers,
    text: await reply.body.text(),
    cookie: set?.split(';')[0],
  }
}

/** Signs in with a token; the cookie. Throws when that is refused. */
export async function signIn(server: Pick<TestServer, 'url'>, token: string): Promise<string> {
  const { status, cookie, text } = await visit(server, '/sign-in', { form: { token } })
  if (status !== 303 || cookie === undefined) throw new Error(`Cannot sign in: ${status} ${text}`)
  return cookie
}
