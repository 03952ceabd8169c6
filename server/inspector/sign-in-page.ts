/** Signing in and out in a browser: `/sign-in`, `/sign-in/CODE`, `/sign-out`. */
import { bodyLimit } from 'hono/body-limit'
import { html } from 'hono/html'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Token } from '../../schemas/token.ts'
import { createAttemptLimit } from '../access/attempt-limit.ts'
import { formatSessionCookie, readSessionCookie } from '../access/session-cookie.ts'
import { endSession, openSession, useLink } from '../access/sign-in.ts'
import { findToken } from '../access/tokens.ts'
import { type App, admitVisitor, invalid } from '../http/mount.ts'
import { type InspectorParts, type PageContext, pageHeaders, renderPage } from './page.ts'

/** A token, a place to go back to, and what a form adds. */
const FORM_BYTES_MAX = 8192

/** Why the sign-in page is shown, as people read it. */
const REASONS = {
  asked: 'Sign in to see uploads and artifacts.',
  ended: 'You were signed out: the session or its token has ended. Sign in again to go on.',
  wrong: 'This is no valid token. It may be mistyped, expired or revoked.',
  blind:
    'This token is valid, but it may neither list nor get anything, so there is nothing to see.',
  link: 'This link has been used, or its ten minutes are over. A link signs in once.',
  out: 'You are signed out.',
} as const
type Reason = keyof typeof REASONS

/** Mounts the sign-in page, one-time links and the way out. */
export function mountSignIn(app: App, { intake }: InspectorParts): void {
  const { sql, clock } = intake
  const limit = createAttemptLimit(clock)

  const enter = async (c: PageContext, token: Token, next: string): Promise<Response> => {
    const { secret, endsAt } = await openSession(sql, token, clock)
    const seconds = (endsAt.getTime() - clock().getTime()) / 1000
    const cookie = formatSessionCookie(secret, seconds, isSecure(c))
    return goTo(next, cookie)
  }

  app.get('/sign-in', async (c) => {
    c.set('endpoint', 'signInPage')
    admitVisitor(c)
    const next = readNext(c.req.query('next'))
    if (c.get('principal').token !== undefined) return goTo(next)
    return showSignIn(c, c.req.query('out') === undefined ? 'asked' : 'out', { next, status: 200 })
  })

  // For pages that find their stream closed: the browser does not tell them why.
  app.get('/session', async (c) => {
    c.set('endpoint', 'session')
    admitVisitor(c)
    const signedIn = c.get('principal').token !== undefined
    return c.json({ signedIn }, 200, { 'cache-control': 'no-store' })
  })

  app.get('/sign-in/:code', async (c) => {
    c.set('endpoint', 'useSignInLink')
    checkAttempts(c, limit.waitSeconds(addressOf(c)))
    const token = await useLink(sql, c.req.param('code'), clock)
    if (token !== undefined) return enter(c, token, '/')
    limit.fail(addressOf(c))
    return showSignIn(c, 'link', { next: '/', status: 401 })
  })

  app.post('/sign-in', limitForm, async (c) => {
    c.set('endpoint', 'signIn')
    checkOwnForm(c)
    checkAttempts(c, limit.waitSeconds(addressOf(c)))
    const form = await readForm(c)
    const next = readNext(form.get('next') ?? undefined)
    // One look-up whatever was typed: how long the answer takes says nothing about it.
    const token = await findToken(sql, form.get('token')?.trim() ?? '', clock)
    if (token === undefined) {
      limit.fail(addressOf(c))
      return showSignIn(c, 'wrong', { next, status: 401 })
    }
    try {
      return await enter(c, token, next)
    } catch (error) {
      if (!(error instanceof ArtifactError && error.code === 'forbidden')) throw error
      return showSignIn(c, 'blind', { next, status: 403 })
    }
  })

  app.post('/sign-out', limitForm, async (c) => {
    c.set('endpoint', 'signOut')
    checkOwnForm(c)
    const secret = readSessionCookie(c.req.header('cookie'))
    if (secret !== undefined) await endSession(sql, secret)
    return goTo('/sign-in?out', formatSessionCookie('ended', 0, isSecure(c)))
  })
}

/**
 * The sign-in page in place of one that needs somebody signed in. Whoever comes over a link from another
 * site brings no cookie (SameSite=Strict) though he may have one: he is sent to the same address once
 * more, and then comes from here.
 */
export async function askToSignIn(c: PageContext): Promise<Response> {
  const url = new URL(c.req.url)
  const here = url.pathname + url.search
  const hasCookie = readSessionCookie(c.req.header('cookie')) !== undefined
  if (!hasCookie && c.req.header('sec-fetch-site') === 'cross-site') return comeAgain(here)
  return showSignIn(c, hasCookie ? 'ended' : 'asked', { next: readNext(here), status: 401 })
}

async function comeAgain(path: string): Promise<Response> {
  const document = await html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>artifact</title>
<meta http-equiv="refresh" content="0; url=${path}"></head>
<body><p><a href="${path}">Go on</a></p></body></html>
`
  const headers = { ...pageHeaders(), 'content-type': 'text/html; charset=utf-8' }
  return new Response(String(document), { status: 200, headers })
}

async function showSignIn(
  c: PageContext,
  reason: Reason,
  { next, status }: { next: string; status: number },
): Promise<Response> {
  const isRefusal = reason !== 'asked' && reason !== 'out'
  return renderPage(c, {
    title: 'Sign in',
    status,
    body: html`<div class="door">
<h1>Sign in</h1>
<p class="${isRefusal ? 'notice notice-warning' : 'notice'}" ${isRefusal ? html`role="alert"` : ''}>${REASONS[reason]}</p>
<form action="/sign-in" method="post" class="sign-in">
<label for="token">Token</label>
<input id="token" name="token" type="password" required autocomplete="current-password" spellcheck="false" maxlength="200" placeholder="artifact_…" ${isRefusal ? html`aria-invalid="${String(reason === 'wrong')}"` : ''}>
<input type="hidden" name="next" value="${next}">
<button>Sign in</button>
</form>
<p>No token at hand? On a machine with the command, this prints a link that signs in once:</p>
<pre><code>artifact inspect</code></pre>
<p class="fine">The inspector only looks. A session lasts eight hours at most, ends with its token, sees what the token may list and get, and can change nothing.</p>
</div>`,
  })
}

/** A path of this site to go to; the first page for anything else. */
function readNext(text: string | undefined): string {
  if (text === undefined || !/^\/(?![/\\])/.test(text)) return '/'
  const base = 'http://inspector.invalid'
  if (!URL.canParse(text, base)) return '/'
  const url = new URL(text, base)
  const isElsewhere = url.origin !== base || /^\/(\/|v1\/|sign-)/.test(url.pathname)
  return isElsewhere ? '/' : url.pathname + url.search
}

function goTo(path: string, cookie?: string): Response {
  const headers = new Headers({ ...pageHeaders(), location: path })
  if (cookie !== undefined) headers.set('set-cookie', cookie)
  return new Response(null, { status: 303, headers })
}

/** Whether the browser speaks https, to this server or to the proxy before it. */
function isSecure(c: PageContext): boolean {
  const forwarded = c.req.header('x-forwarded-proto')?.split(',')[0]?.trim()
  return (forwarded ?? new URL(c.req.url).protocol.slice(0, -1)) === 'https'
}

/** A form of another site would sign its reader in as somebody else. */
function checkOwnForm(c: PageContext): void {
  const from = c.req.header('sec-fetch-site')
  if (from === undefined || from === 'same-origin' || from === 'none') return
  throw new ArtifactError('forbidden', 'Cannot take the form: it comes from another site', {
    expected: 'a form of this site',
    found: from,
  })
}

function checkAttempts(_c: PageContext, retryAfterSeconds: number): void {
  if (retryAfterSeconds === 0) return
  throw new ArtifactError('too_many_attempts', 'Cannot sign in: too many attempts failed', {
    retryAfterSeconds,
  })
}

/** The peer of the connection; behind a proxy that is the proxy, and all share one limit. */
function addressOf(c: PageContext): string {
  return c.env.incoming.socket.remoteAddress ?? ''
}

const limitForm = bodyLimit({
  maxSize: FORM_BYTES_MAX,
  onError: () => {
    throw new ArtifactError('body_too_large', 'Cannot read the form: it is too large', {
      expected: `at most ${FORM_BYTES_MAX} bytes`,
    })
  },
})

async function readForm(c: PageContext): Promise<URLSearchParams> {
  const type = c.req.header('content-type') ?? ''
  if (!/^application\/x-www-form-urlencoded\b/i.test(type))
    throw invalid([
      {
        field: 'content-type',
        expected: 'application/x-www-form-urlencoded',
        found: type.slice(0, 100),
      },
    ])
  return new URLSearchParams(await c.req.text())
}
