"""How the page of an evaluation looks, and the few lines that make its videos play together."""

STYLE = """<style>
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #1d1d22; --faint: #6b6b73; --rule: #dedcd4; --best: #e4f3ea; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #17181b; --ink: #eceae4; --faint: #9b9ba3; --rule: #33353a; --best: #1d3a2b; }
}
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 1060px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 30px; margin: 0 0 4px; } h2 { font-size: 21px; margin: 40px 0 6px; }
p { margin: 4px 0 12px; max-width: 74ch; } .lead, .small, ul, small, .of, .none { color: var(--faint); }
ul { padding-left: 20px; font-size: 14px; overflow-wrap: anywhere; } .small { font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; } th { text-align: left; font-weight: 600; }
.figures th, .figures td { padding: 7px 16px 7px 6px; border-bottom: 1px solid var(--rule); vertical-align: top; }
.figures tbody th { font-weight: 400; } .figures td b { display: block; font-variant-numeric: tabular-nums; }
.figures small, .figures thead th { white-space: nowrap; } .best { background: var(--best); }
.of { display: block; font-size: 13px; }
.chip { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.videos th { padding: 0 10px 4px 0; } .videos td { padding: 0 10px 8px 0; }
.videos video { width: 192px; display: block; border-radius: 4px; image-rendering: pixelated; }
.videos .caption { font-size: 14px; color: var(--faint); padding-bottom: 3px; }
.bar { display: flex; gap: 12px; align-items: center; position: sticky; top: 0; background: var(--paper); padding: 8px 0; }
.bar input { flex: 1; max-width: 420px; } #time { font-variant-numeric: tabular-nums; color: var(--faint); }
button { font: inherit; padding: 5px 16px; border-radius: 6px; border: 1px solid var(--rule); cursor: pointer;
  background: transparent; color: inherit; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); gap: 18px 26px; }
figure { margin: 0; } figcaption { font-size: 14px; font-weight: 600; }
figure > svg { width: 100%; font: 12px system-ui, sans-serif; } figure > svg text { fill: var(--faint); }
.grid { stroke: var(--rule); stroke-width: 1; }
.keys { font-size: 13px; display: flex; flex-wrap: wrap; gap: 2px 16px; }
.stroke { width: 26px; height: 6px; margin-right: 6px; vertical-align: middle; }
</style>"""

SCRIPT = """<script>
const videos = [...document.querySelectorAll('video')];
const play = document.getElementById('play'), seek = document.getElementById('seek'), time = document.getElementById('time');
const first = videos[0];
let playing = false;
function length() { return Math.min(...videos.map(v => v.duration || Infinity)); }
function say() {
  if (!isFinite(length())) return;
  time.textContent = first.currentTime.toFixed(1) + ' / ' + length().toFixed(1) + ' s';
  seek.value = 1000 * first.currentTime / length();
}
function set(on) {
  playing = on;
  play.textContent = on ? 'Pause' : 'Play all';
  videos.forEach(v => on ? v.play().catch(() => {}) : v.pause());
}
if (first) {
  play.onclick = () => set(!playing);
  seek.oninput = () => { videos.forEach(v => v.currentTime = seek.value / 1000 * length()); say(); };
  first.ontimeupdate = () => {
    videos.forEach(v => { if (Math.abs(v.currentTime - first.currentTime) > 0.12) v.currentTime = first.currentTime; });
    say();
  };
  first.onloadedmetadata = say;
}
</script>"""
