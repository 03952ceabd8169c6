/** Endpoints that hand out bytes, and the checksums of them. See `api.ts`. */

import { z } from 'zod'
import { Contents, Delivery, GetContents } from './contents.ts'
import type { Endpoint } from './endpoint.ts'
import { SinceText } from './log-question.ts'
import { atName, inRun, inTask, RunText } from './parameters.ts'
import { Grant } from './upload.ts'

export const contentEndpoints = {
  getContent: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/content/:name',
    summary: 'A grant for the bytes: as JSON when asked for, else as a redirect',
    access: 'get',
    session: true,
    params: atName,
    replies: { 200: Grant },
    otherReplies: { 303: { description: 'Redirect to the bytes, with Repr-Digest (RFC 9530)' } },
    errors: [
      'not_found',
      'artifact_revoked',
      'artifact_removed',
      'blob_missing',
      'precondition_failed',
      'store_unavailable',
    ],
  },
  getDelivery: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/delivery/:name',
    summary: 'All that a get needs in one answer: record, parts, receipt, and bytes or a grant',
    access: 'get',
    params: atName,
    query: z.strictObject({ since: SinceText }),
    replies: { 200: Delivery },
    errors: ['not_found', 'log_inclusion', 'store_unavailable'],
  },
  getContents: {
    method: 'POST',
    path: '/v1/tasks/:task/runs/:run/contents',
    summary: 'Many small artifacts of a run at once: receipts, and bytes or grants',
    access: 'get',
    params: inTask.extend({ run: RunText }),
    body: GetContents,
    replies: { 200: Contents },
    errors: ['store_unavailable'],
  },
  getChecksums: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/SHA256SUMS',
    summary: 'Checksums of a run as sha256sum -c reads them, from the record',
    access: 'list',
    params: inRun,
    replies: {},
    otherReplies: {
      200: { description: 'One line per artifact', contentType: 'text/plain; charset=utf-8' },
    },
    errors: ['not_found'],
  },
} as const satisfies Record<string, Endpoint>
