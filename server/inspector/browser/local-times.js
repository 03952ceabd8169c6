/** Shows every `<time datetime>` of the page in the reader's own time zone; UTC stays in its title. */
import { formatUtc } from './measures.js'

const format = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })

for (const element of document.querySelectorAll('time[datetime]')) {
  const instant = element.getAttribute('datetime') ?? ''
  const date = new Date(instant)
  if (Number.isNaN(date.getTime())) continue
  element.textContent = format.format(date)
  element.setAttribute('title', formatUtc(instant))
}
