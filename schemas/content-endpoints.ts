/** Endpoints that hand out bytes, and the checksums of them. See `api.ts`. */

import { Contents, GetContents } from './contents.ts'
import type { Endpoint } from './endpoint.ts'
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
