// How the pages look: the reader's own fonts, light or dark as the system is, one column on a phone. Text keeps
// a contrast of at least 4.5 to 1 on what is behind it.
#pragma once

namespace tenon::track {

inline constexpr const char* style = R"css(
:root{color-scheme:light dark;--paper:#fbfbf9;--ink:#1c2228;--soft:#59636d;--rule:#dfe2e4;--card:#fff;--c0:#1a63d8;--c1:#c2410c;--good:#1a7f37;--bad:#b91c2b;--heat:26,99,216;--on-heat:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#13171b;--ink:#e4e8eb;--soft:#9aa5af;--rule:#2b3339;--card:#1a1f25;--c0:#6cb0ff;--c1:#ff9a5c;--good:#56d364;--bad:#ff7b72;--heat:108,176,255;--on-heat:#0b1117}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1400px;margin:0 auto;padding:24px 28px 72px}
nav{font-size:.875rem;margin-bottom:14px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 8px;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:44px 0 14px;overflow-wrap:anywhere}
p{margin:0 0 6px;color:var(--soft);overflow-wrap:anywhere}
a{color:var(--c0);text-underline-offset:2px}
.facts{display:flex;flex-wrap:wrap;gap:2px 18px}
.status{font-weight:600}.status::before{content:"";display:inline-block;width:.6em;height:.6em;border-radius:50%;background:currentColor;margin-right:.45em}
.completed{color:var(--good)}.failed,.crashed,.reason{color:var(--bad)}.running{color:var(--c0)}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin:22px 0 0}
.figures div{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:10px 14px;min-width:0}
.figures dt{font-size:.8125rem;color:var(--soft);overflow-wrap:anywhere}
.figures dd{margin:0;font-size:1.4rem;line-height:1.35;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,390px),1fr));gap:14px}
figure{margin:0;min-width:0}
.charts figure{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px 8px}
.charts figcaption{font-weight:600;overflow-wrap:anywhere;line-height:1.35;margin-bottom:4px}
.charts figcaption span{font-weight:400;font-size:.8125rem;color:var(--soft);display:block}
svg{display:block;width:100%;height:auto;overflow:hidden}
svg text{font:14px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums;unicode-bidi:isolate}
.ry{text-anchor:end}.rx{text-anchor:middle}
.grid path{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.dots{fill:none;stroke-width:5.5;stroke-linecap:round}
.line.c0,.dots.c0{stroke:var(--c0)}.line.c1,.dots.c1{stroke:var(--c1)}
.band{stroke:none;opacity:.24}.band.c0{fill:var(--c0)}.band.c1{fill:var(--c1)}
svg text.end{font-weight:600}svg text.t0{fill:var(--c0)}svg text.t1{fill:var(--c1)}
.lost{stroke:var(--bad);stroke-width:1.5;fill:none}svg text.lost-text{fill:var(--bad);font-size:12px}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9375rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 22px 6px 0;vertical-align:top;border-bottom:1px solid var(--rule)}
th{font-weight:600;color:var(--soft);font-size:.875rem}
td.n,th.n{text-align:right}
.pairs th{max-width:340px;min-width:120px;overflow-wrap:anywhere}.pairs td{overflow-wrap:anywhere;min-width:160px}
.numbers td,.numbers th,.files td,.files th,.runs td,.runs th{white-space:nowrap}
.numbers th[scope=row],.runs th[scope=row]{white-space:normal;min-width:180px;max-width:280px;overflow-wrap:anywhere}
.runs td,.runs th{vertical-align:middle}.runs th[scope=row]{min-width:170px;font-size:.9375rem}.runs small{display:block;font-weight:400;white-space:nowrap}
.spark{width:120px;height:24px}
.heat td,.heat th{text-align:center;padding:7px 8px;border:0;min-width:46px;overflow-wrap:normal}
.heat td{border:1px solid var(--paper)}
.heat th[scope=row]{text-align:right}
.h0{color:var(--soft)}.h1{background:rgba(var(--heat),.08)}.h2{background:rgba(var(--heat),.16)}.h3{background:rgba(var(--heat),.26)}.h4{background:rgba(var(--heat),.36)}.h5{background:rgb(var(--heat));color:var(--on-heat);font-weight:600}
.images{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:16px}
.images img{width:100%;max-width:168px;image-rendering:pixelated;display:block;border:1px solid var(--rule);border-radius:4px}
.images figcaption{font-size:.8125rem;line-height:1.35;color:var(--soft);margin-top:5px;overflow-wrap:anywhere}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.command{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:10px 14px;color:var(--ink)}
@media(max-width:600px){main{padding:18px 16px 56px}h1{font-size:1.375rem}h2{margin-top:34px}.figures{grid-template-columns:repeat(2,1fr)}.charts figure{padding:10px 10px 6px}svg text{font-size:15px}.heat td,.heat th{min-width:36px;padding:6px 3px}}
)css";

}  // namespace tenon::track
