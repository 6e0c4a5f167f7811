var e=e=>({method:`POST`,path:`/v1/runs`,body:{agent:e.agent,input:e.input,...e.thread_id===void 0?{}:{thread_id:e.thread_id}},streams:!0}),t=(e,t)=>({method:`POST`,path:`/v1/runs/${e}/fork`,body:t}),n=e=>`'${e.replaceAll(`'`,`'\\''`)}'`;function r(e,t){let r=[`curl ${t.streams?`-sN`:`-s`} -X ${t.method} ${n(e+t.path)}`];return r.push(`-H "authorization: Bearer $HOLDFAST_API_KEY"`),t.streams&&r.push(`-H 'accept: text/event-stream'`),t.body!==void 0&&(r.push(`-H 'content-type: application/json'`),r.push(`--data-raw ${n(JSON.stringify(t.body))}`)),r.join(` \\
  `)}var i=`    `;function a(e,t=``){if(e==null)return`None`;if(e===!0)return`True`;if(e===!1)return`False`;if(typeof e==`number`)return Number.isFinite(e)?String(e):`None`;if(typeof e==`string`)return o(e);let n=t+i;if(Array.isArray(e))return e.length===0?`[]`:`[\n${e.map(e=>`${n}${a(e,n)},\n`).join(``)}${t}]`;let r=Object.entries(e).filter(([,e])=>e!==void 0);return r.length===0?`{}`:`{\n${r.map(([e,t])=>`${n}${o(e)}: ${a(t,n)},\n`).join(``)}${t}}`}function o(e){return JSON.stringify(e).replaceAll(``,`\\x7f`).replace(/[\u0080-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g,e=>`\\u${e.charCodeAt(0).toString(16).padStart(4,`0`)}`)}function s(e,t){let n=[o(t.method),o(e+t.path),`headers={"authorization": f"Bearer {os.environ['HOLDFAST_API_KEY']}"${t.streams?`, "accept": "text/event-stream"`:``}}`,...t.body===void 0?[]:[`json=${a(t.body,i)}`],`timeout=60`].map(e=>`${i}${e},\n`).join(``),r=`import os

import httpx

`;return t.streams?`${r}with httpx.stream(\n${n}) as answer:
    answer.raise_for_status()
    for line in answer.iter_lines():
        if line.startswith("data:"):
            print(line[5:].strip())
`:`${r}answer = httpx.request(\n${n})
answer.raise_for_status()
print(answer.json())
`}export{e as i,s as n,t as r,r as t};