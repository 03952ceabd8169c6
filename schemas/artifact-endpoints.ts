/** Endpoints that tell what is recorded. See `api.ts`. */

import { z } from 'zod'
import {
  AllotRun,
  Artifact,
  ArtifactPage,
  ArtifactParts,
  Run,
  RunPage,
  TaskPage,
} from './artifact.ts'
import type { Endpoint } from './endpoint.ts'
import { atName, inRun, inTask, Limit, NamePart, RunText } from './parameters.ts'
import { Instant } from './primitives.ts'
import { VerificationPage } from './verification.ts'

export const artifactEndpoints = {
  listTasks: {
    method: 'GET',
    path: '/v1/tasks',
    summary: 'Tasks by name',
    access: 'list',
    query: z.strictObject({
      prefix: NamePart.max(128).optional(),
      after: NamePart.max(128).optional(),
      limit: Limit,
    }),
    replies: { 200: TaskPage },
    errors: [],
  },
  listRuns: {
    method: 'GET',
    path: '/v1/tasks/:task/runs',
    summary: 'Runs of a task, the latest first',
    access: 'list',
    params: inTask,
    query: z.strictObject({ after: RunText.optional(), limit: Limit }),
    replies: { 200: RunPage },
    errors: ['not_found'],
  },
  allotRun: {
    method: 'POST',
    path: '/v1/tasks/:task/runs',
    summary: 'Allot the next run',
    access: 'upload',
    params: inTask,
    body: AllotRun,
    replies: { 200: Run, 201: Run },
    errors: ['forbidden', 'runs_exhausted', 'upload_conflict'],
  },
  listArtifacts: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts',
    summary: 'Sealed artifacts of a run, by name',
    access: 'list',
    params: inRun,
    query: z.strictObject({
      prefix: NamePart.max(512).optional(),
      after: NamePart.max(512).optional(),
      limit: Limit,
    }),
    replies: { 200: ArtifactPage },
    errors: ['not_found'],
  },
  getArtifact: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name',
    summary: 'The record of an artifact',
    access: 'get',
    session: true,
    params: atName,
    replies: { 200: Artifact },
    errors: ['not_found'],
  },
  getArtifactParts: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/parts',
    summary: 'The part digests of an artifact',
    access: 'get',
    session: true,
    params: atName,
    replies: { 200: ArtifactParts },
    errors: ['not_found'],
  },
  listVerifications: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/verifications',
    summary: 'When the stored bytes were read again, and what was found; the latest first',
    access: 'get',
    session: true,
    params: atName,
    query: z.strictObject({ after: Instant.optional(), limit: Limit }),
    replies: { 200: VerificationPage },
    errors: ['not_found'],
  },
} as const satisfies Record<string, Endpoint>
