// What a reader, a mail client and a scanner get from a mail: the same questions put to what the
// reference renderer makes of each template and to what we make of it.
//
//   NODE_PATH=.../node_modules node mjml_features.cjs TEMPLATES OURS
//
// TEMPLATES holds NAME.mjml, OURS holds NAME.html. Prints JSON: for each name, and each question,
// both answers where they differ.
const fs = require('fs');
const path = require('path');
const { load } = require('cheerio');
const mjml2html = require('mjml').default || require('mjml');

const squeeze = (text) => text.replace(/\s+/g, ' ').trim();
// The reference cuts fractions of pixels off, ours keeps them: a pixel more or less is the same.
const whole = (text) => text.replace(/\d+(\.\d+)?/g, (number) => Math.floor(Number(number) + 0.05)).replace(/px$/, '');
const style = (element, name) => {
  const found = new RegExp(`(?:^|;)\\s*${name}\\s*:\\s*([^;]+)`).exec(element.attr('style') || '');
  return found ? found[1].replace(/\s+/g, '') : null;
};

// Thirds have more digits there than here.
const column = (name) => name && name.replace(/(-\d+-\d{3})\d+$/, '$1');

const words = (node) => (node.type === 'text' ? node.data : (node.children || []).map(words).join(' '));

function features(html) {
  // What Outlook alone reads stands in comments: its widths are asked for first.
  const outlook = [...html.matchAll(/<!--\[if mso[^\]]*\]>([\s\S]*?)<!\[endif\]-->/g)].map((m) => m[1]).join('');
  const outlookWidths = [...outlook.matchAll(/<(?:table|td|v:rect|v:image)\b[^>]*?\bwidth(?:="([\d.]+)|:([\d.]+(?:px|%)))/g)].map((m) => whole(m[1] || m[2]));
  const $ = load(html.replace(/<!--[\s\S]*?-->/g, ''));
  const css = $('style').map((_, e) => $(e).text()).get().join('\n');
  const columns = Object.fromEntries([...css.matchAll(/@media[^{]*\{\s*((?:[^{}]*\{[^{}]*\}\s*)*)\}/g)]
    .flatMap((m) => [...m[1].matchAll(/\.(mj-column-[\w-]+)\s*\{\s*width:\s*([\d.]+(?:px|%))/g)])
    .map((m) => [column(m[1]), whole(m[2])]).sort());
  const breakpoint = (/@media only screen and \(min-width:\s*([\d.]+px)\)/.exec(css) || [])[1] || null;
  const title = squeeze($('title').text());
  $('style, title, script').remove();
  return {
    title,
    breakpoint,
    columns,
    outlookWidths,
    text: squeeze(words($('body').get(0))),
    links: $('a').map((_, e) => $(e).attr('href')).get(),
    images: $('img').map((_, e) => [$(e).attr('src'), $(e).attr('alt') || '', ($(e).attr('width') || '').replace(/\..*/, ''), $(e).attr('height') || ''].join(' ')).get(),
    columnClasses: $('div').map((_, e) => (($(e).attr('class') || '').match(/mj-column-(?:per|px)-[\d-]+/) || [])[0]).map((_, name) => column(name)).get(),
    maxWidths: $('div, table').map((_, e) => whole(style($(e), 'max-width') || '')).get(),
    alignments: $('td').map((_, e) => $(e).attr('align')).get(),
    colours: $('[style]').map((_, e) => style($(e), 'color')).get(),
    backgrounds: $('[style]').map((_, e) => style($(e), 'background-color')).get(),
    paddings: $('td').map((_, e) => (style($(e), 'padding') || '').replace(/(^|px)0px/g, '$10') || null).get(),
    fonts: $('[style]').map((_, e) => style($(e), 'font-size')).get(),
  };
}

async function main([templates, ours]) {
  const out = {};
  for (const file of fs.readdirSync(templates).filter((name) => name.endsWith('.mjml')).sort()) {
    const name = path.basename(file, '.mjml');
    const source = fs.readFileSync(path.join(templates, file), 'utf8');
    // Web fonts are switched off on both sides: ours never asks for any.
    const reference = await mjml2html(source, { fonts: {}, validationLevel: 'strict', keepComments: true, ignoreIncludes: true });
    const [theirs, own] = [features(reference.html), features(fs.readFileSync(path.join(ours, `${name}.html`), 'utf8'))];
    const questions = Object.keys(theirs).filter((q) => JSON.stringify(theirs[q]) !== JSON.stringify(own[q]));
    out[name] = Object.fromEntries(questions.map((q) => [q, { reference: theirs[q], ours: own[q] }]));
  }
  console.log(JSON.stringify(out, null, 1));
}
main(process.argv.slice(2)).catch((error) => { console.error(error); process.exit(1); });
