// How the pages look: the reader's own fonts, light or dark as the system is, one column on a phone.
#pragma once

namespace tenon::track {

inline constexpr const char* style = R"css(
:root{color-scheme:light dark;--paper:#fdfdfb;--ink:#1d2329;--soft:#5b6670;--rule:#dcdfe2;--card:#fff;--c0:#1f6feb;--c1:#d9480f;--good:#1a7f37;--bad:#c0262d;--heat:31,111,235}
@media(prefers-color-scheme:dark){:root{--paper:#14181c;--ink:#e6e9ec;--soft:#9aa5af;--rule:#2c343b;--card:#1a2026;--c0:#6cb0ff;--c1:#ff9a5c;--good:#56d364;--bad:#ff7b72;--heat:108,176,255}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1360px;margin:0 auto;padding:28px 24px 64px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:40px 0 12px;padding-bottom:6px;border-bottom:1px solid var(--rule)}
p{margin:0 0 6px;color:var(--soft);overflow-wrap:anywhere}
a{color:var(--c0)}
.status{font-weight:600}.completed{color:var(--good)}.failed,.crashed{color:var(--bad)}.running{color:var(--c0)}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:18px 24px;margin:22px 0 0}
.figures div{border-top:2px solid var(--rule);padding-top:8px;min-width:0}
.figures dt{font-size:.8rem;color:var(--soft);overflow-wrap:anywhere}
.figures dd{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:24px 32px}
figure{margin:0;min-width:0}
figcaption{font-weight:600;overflow-wrap:anywhere}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:12px system-ui,sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
.ry{text-anchor:end}.rx{text-anchor:middle}
.grid path{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}
.band{stroke:none;opacity:.22}.band.c0{fill:var(--c0)}.band.c1{fill:var(--c1)}
svg text.end{font-weight:600}svg text.t0{fill:var(--c0)}svg text.t1{fill:var(--c1)}
.lost{stroke:var(--bad);stroke-width:1.5;fill:none}svg text.lost-text{fill:var(--bad)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 14px 5px 0;vertical-align:top;border-bottom:1px solid var(--rule);overflow-wrap:anywhere}
th{font-weight:600;color:var(--soft);font-size:.85rem}
td.n,th.n{text-align:right}
.runs th,.runs td{white-space:nowrap}.spark{width:120px;height:24px}
.heat td,.heat th{text-align:center;padding:6px 8px;border:0;min-width:44px;overflow-wrap:normal}
.heat caption{caption-side:bottom;text-align:left;color:var(--soft);font-size:.85rem;padding-top:8px}
.h0{color:var(--soft)}.h1{background:rgba(var(--heat),.08)}.h2{background:rgba(var(--heat),.18)}.h3{background:rgba(var(--heat),.32)}.h4{background:rgba(var(--heat),.5)}.h5{background:rgba(var(--heat),.75);font-weight:600}
.images{display:grid;grid-template-columns:repeat(auto-fill,minmax(112px,1fr));gap:16px}
.images img{width:100%;max-width:168px;image-rendering:pixelated;display:block;border:1px solid var(--rule)}
.images figcaption{font-weight:400;font-size:.8rem;color:var(--soft);margin-top:4px}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
@media(max-width:600px){main{padding:20px 16px 48px}h1{font-size:1.35rem}.figures{grid-template-columns:repeat(2,1fr)}svg text{font-size:16px}}
)css";

}  // namespace tenon::track
