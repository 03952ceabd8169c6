/** Endpoints of the transparency log. See `api.ts`. */
import type { Endpoint } from './endpoint.ts'
import { LogInfo } from './log.ts'
import { atName } from './parameters.ts'
import { MakeStatement, Statement, Statements } from './statement.ts'

export const logEndpoints = {
  getReceipt: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/receipt',
    summary:
      'The proof that an artifact is in the log, as C2SP tlog-proof; waits for the signer a little',
    access: 'get',
    session: true,
    params: atName,
    replies: {},
    otherReplies: {
      200: { description: 'The receipt', contentType: 'text/plain; charset=utf-8' },
    },
    errors: ['not_found', 'log_absent', 'receipt_pending', 'log_inclusion'],
  },
  getStatements: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/statements',
    summary: 'What was said about an artifact after it was sealed',
    access: 'get',
    session: true,
    params: atName,
    replies: { 200: Statements },
    errors: ['not_found'],
  },
  makeStatement: {
    method: 'POST',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/statements',
    summary: 'Revoke an artifact, or remove its bytes; a leaf of the log either way',
    access: 'admin',
    params: atName,
    body: MakeStatement,
    replies: { 201: Statement },
    errors: ['forbidden', 'not_found', 'store_unavailable'],
  },
  getLog: {
    method: 'GET',
    path: '/v1/log',
    summary: 'Which transparency log this server has',
    access: 'anyone',
    replies: { 200: LogInfo },
    errors: ['log_absent'],
  },
} as const satisfies Record<string, Endpoint>
