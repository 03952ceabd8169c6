/** `/`: every upload that runs now, and the last ones that ended. */
import { html } from 'hono/html'
import type { Upload } from '../../schemas/upload.ts'
import { readView } from '../delivery/picture.ts'
import type { App } from '../http/mount.ts'
import { pickFacts } from './browser/upload-facts.js'
import { averageRate, describeUpload, formatCount } from './browser/upload-words.js'
import { formatFaults } from './faults.ts'
import { type InspectorParts, mountPage, renderPage } from './page.ts'
import { emptyState, type Html, timeOf } from './pieces.ts'
import { type RowContent, uploadRow } from './upload-row.ts'

/** Ended uploads that stay on the page. */
const ENDED_MAX = 20

/** Mounts the first page. */
export function mountUploadsPage(app: App, { intake }: InspectorParts): void {
  mountPage(app, '/', 'uploadsPage', async (c, principal) => {
    const { last, active, ended, isPartial } = await readView(intake.sql, principal, ENDED_MAX)
    const now = intake.clock()
    const icons = (state: string) => `${c.get('assets').path('icons.svg')}#${state}`
    const rows = (uploads: readonly Upload[]): Html =>
      html`${uploads.map((upload) => uploadRow(icons, fillRow(upload, now)))}`
    return renderPage(c, {
      title: 'Uploads now',
      nav: 'uploads',
      modules: ['uploads-live.js'],
      body: html`<div class="page-head">
<h1>Uploads now</h1>
<p class="live" id="live" role="status" data-live="still"><span class="live-mark" aria-hidden="true"></span><span class="live-word">A picture of ${timeOf(now.toISOString(), 'clock')}</span></p>
</div>
${await formatFaults(intake.sql, principal)}
<noscript><p class="notice">Without JavaScript this is a picture of one moment: load the page again for the next one.</p></noscript>
<div id="uploads" data-after="${last}" data-now="${now.toISOString()}" data-icons="${icons('')}" data-ended-max="${ENDED_MAX}">
<section class="running" aria-labelledby="running-heading">
<h2 id="running-heading">${formatCount(active.length)}</h2>
${isPartial ? html`<p class="notice">More uploads run than fit into one picture: the latest are here, others appear when they move.</p>` : ''}
<ol class="uploads" id="running">
${rows(active)}</ol>
<div id="running-empty" ${active.length === 0 ? '' : html`hidden`}>
${emptyState('What is uploaded shows here while it moves. Start one from any machine that has the command:', 'artifact upload backup.dump turtle-db')}
</div>
</section>
<section class="ended" aria-labelledby="ended-heading">
<h2 id="ended-heading">Just ended</h2>
<ol class="uploads" id="ended">
${rows(ended)}</ol>
<p class="dim" id="ended-empty" ${ended.length === 0 ? '' : html`hidden`}>Nothing has ended yet that is yours to see.</p>
</section>
</div>
<p class="unseen" id="news" aria-live="polite"></p>
<template id="blank-row">${uploadRow(icons)}</template>`,
    })
  })
}

function fillRow(upload: Upload, now: Date): RowContent {
  const facts = pickFacts(upload)
  const view = describeUpload(facts, {
    now: now.getTime(),
    rate: averageRate(facts),
    formatClock: (instant) => `${instant.slice(11, 16)} UTC`,
  })
  return { facts, view }
}
