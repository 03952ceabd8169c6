/**
 * The frame of every page of the inspector: document, navigation, headers, and who is signed in.
 *
 * Pages are functions that return `hono/html` templates, which escape what is put into them. A page
 * changes nothing, loads nothing from elsewhere and runs no inline script or style.
 */
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Context } from 'hono'
import { html } from 'hono/html'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Principal } from '../access/scopes.ts'
import type { Delivery } from '../delivery/artifacts.ts'
import { type App, admitVisitor, type Environment } from '../http/mount.ts'
import type { Intake } from '../intake/session.ts'
import type { Heads } from '../log/heads.ts'
import { type Html, nameOf, timeOf } from './pieces.ts'

export type PageContext = Context<Environment>

/** What the pages read from. */
export interface InspectorParts {
  intake: Intake
  delivery: Delivery
  heads: Heads
}

/** The places of the navigation. */
export type NavPlace = 'uploads' | 'tasks' | 'log'

export interface Page {
  /** Of the document, without the name of the service. */
  title: string
  /** Which place of the navigation it belongs to. */
  nav?: NavPlace | undefined
  /** What stands in `<main>`; begins with the `<h1>`. */
  body: Html
  /** Names of browser modules in `server/inspector/browser/`, for example `uploads-live.js`. */
  modules?: readonly string[]
  /** What the search box holds. */
  search?: string | undefined
  status?: number
  policy?: PagePolicy
}

/** What a page needs beyond itself; without it nothing but this origin can be reached. */
export interface PagePolicy {
  /** Origins that modules may fetch from, for example of the S3 store that has the bytes. */
  connect?: readonly string[]
  /** Starts workers. */
  worker?: boolean
  /** Compiles WebAssembly. */
  wasm?: boolean
}

/** Answers are compressed from here on. */
const GZIP_MIN_BYTES = 1024

/** The page as an answer, in the frame and with the headers of all pages. */
export async function renderPage(c: PageContext, page: Page): Promise<Response> {
  const document = String(await formatDocument(c, page))
  const headers = new Headers(pageHeaders(page.policy))
  headers.set('content-type', 'text/html; charset=utf-8')
  headers.set('vary', 'accept-encoding, cookie')
  const bytes = new TextEncoder().encode(document)
  const status = page.status ?? 200
  if (bytes.length < GZIP_MIN_BYTES || !acceptsGzip(c))
    return new Response(bytes, { status, headers })
  headers.set('content-encoding', 'gzip')
  return new Response(new Uint8Array(await promisify(gzip)(bytes)), { status, headers })
}

/** Whether the client takes gzip. */
export function acceptsGzip(c: PageContext): boolean {
  return /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(c.req.header('accept-encoding') ?? '')
}

/** Who looks at the page. Throws `unauthenticated` when nobody is signed in; the answer is the sign-in page. */
export function readPrincipal(c: PageContext): Principal {
  const principal = c.get('principal')
  if (principal.token !== undefined) return principal
  throw new ArtifactError('unauthenticated', 'Cannot show the page: nobody is signed in')
}

/** Mounts a page that needs somebody signed in. `name` is what logs and metrics call it. */
export function mountPage(
  app: App,
  path: string,
  name: string,
  show: (c: PageContext, principal: Principal) => Promise<Response>,
): void {
  app.get(path, async (c) => {
    c.set('endpoint', name)
    admitVisitor(c)
    return show(c, readPrincipal(c))
  })
}

/** Headers of every page: Content Security Policy Level 3, and what goes with it. */
export function pageHeaders(policy: PagePolicy = {}): Record<string, string> {
  const { connect = [], worker = false, wasm = false } = policy
  const directives = [
    "default-src 'none'",
    `script-src 'self'${wasm ? " 'wasm-unsafe-eval'" : ''}`,
    "style-src 'self'",
    "img-src 'self'",
    `connect-src ${["'self'", ...connect].join(' ')}`,
    ...(worker ? ["worker-src 'self'"] : ["require-trusted-types-for 'script'"]),
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ]
  return {
    'content-security-policy': directives.join('; '),
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy':
      'camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
  }
}

const PLACES: readonly { place: NavPlace; path: string; word: string }[] = [
  { place: 'uploads', path: '/', word: 'Uploads' },
  { place: 'tasks', path: '/tasks', word: 'Tasks' },
  { place: 'log', path: '/log', word: 'Log' },
]

function formatDocument(c: PageContext, page: Page): Html {
  const assets = c.get('assets')
  const modules = ['local-times.js', ...(page.modules ?? [])]
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${page.title} · artifact</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="${assets.path('icon.svg')}" type="image/svg+xml">
<link rel="stylesheet" href="${assets.path('inspector.css')}">
${modules.map(
  (name) => html`<script type="module" src="${assets.path(name)}"></script>
`,
)}</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
${formatHeader(c, page)}
<main id="main" tabindex="-1">
${page.body}
</main>
</body>
</html>
`
}

function formatHeader(c: PageContext, page: Page): Html {
  if (c.get('principal').token === undefined)
    return html`<header class="masthead"><a class="mark" href="/">artifact</a></header>`
  return html`<header class="masthead">
<a class="mark" href="/">artifact</a>
<nav aria-label="Places"><ul>
${PLACES.map(
  ({ place, path, word }) =>
    html`<li><a href="${path}" ${page.nav === place ? html`aria-current="page"` : ''}>${word}</a></li>`,
)}
</ul></nav>
<form class="search" role="search" action="/search" method="get">
<label for="search">Search</label>
<input id="search" name="q" type="search" autocomplete="off" spellcheck="false" maxlength="700" placeholder="Reference or SHA-256" value="${page.search ?? ''}">
<button>Find</button>
</form>
${formatVisitor(c)}
</header>`
}

/** Who is signed in, until when, and the way out. */
function formatVisitor(c: PageContext): Html {
  const { token, session } = c.get('principal')
  const name = html`<span class="visitor-name" title="Signed in with this token; the pages change nothing">${nameOf(token?.name ?? '')}</span>`
  if (session === undefined) return html`<div class="visitor">${name}</div>`
  return html`<div class="visitor">
${name}
<span class="visitor-until">until ${timeOf(session.endsAt.toISOString(), 'clock')}</span>
<form action="/sign-out" method="post"><button class="quiet">Sign out</button></form>
</div>`
}
