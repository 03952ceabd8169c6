/** What a browser gets instead of a problem document. */
import { html } from 'hono/html'
import type { Problem } from '../../schemas/problem-document.ts'
import { admitVisitor } from '../http/mount.ts'
import { type PageContext, renderPage } from './page.ts'
import { askToSignIn } from './sign-in-page.ts'

/** Addresses for programs: their errors are problem documents, whoever asks. */
const MACHINE_ADDRESSES =
  /^\/(v1|tile|assets)\/|^\/(checkpoint|healthz|readyz|metrics|openapi\.json)$/

/** Whether somebody reads the answer with his eyes. */
export function wantsPage(c: PageContext): boolean {
  return !MACHINE_ADDRESSES.test(c.req.path) && /\btext\/html\b/i.test(c.req.header('accept') ?? '')
}

/** What to do about it, where the hint for programs would not help. */
const ADVICE: Partial<Record<Problem['code'], string>> = {
  not_found:
    'It was never there, or it is not yours to see: the answer is the same for both. Check the address, or ask for a token whose scopes cover it.',
  too_many_attempts: 'Wait a little, then try again.',
  internal: 'It is not your fault. Tell the operator the request id below.',
}

/** The written page of a problem; the sign-in page when nobody is signed in. */
export async function renderProblem(c: PageContext, problem: Problem): Promise<Response> {
  if (problem.code === 'unauthenticated') return askToSignIn(c)
  admitVisitor(c)
  return renderPage(c, {
    title: problem.title,
    status: problem.status,
    body: html`<div class="door">
<p class="door-status" aria-hidden="true">${String(problem.status)}</p>
<h1>${problem.title}</h1>
<p>${ADVICE[problem.code] ?? `${problem.detail}. ${problem.hint}`}</p>
<p><a href="/">Uploads now</a> · <a href="/tasks">All tasks</a></p>
${problem.requestId === undefined ? '' : html`<p class="fine">Request <code>${problem.requestId}</code></p>`}
</div>`,
  })
}
