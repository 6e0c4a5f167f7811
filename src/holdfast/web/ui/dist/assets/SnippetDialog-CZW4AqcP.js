import{a as e,n as t,t as n}from"./jsx-runtime-Wy9s6hX0.js";import{K as r,a as i,n as a}from"./text-DW0rzmNn.js";import{C as o}from"./index-BntfAy0P.js";import{t as s}from"./Dialog-BGqLb16I.js";import{t as c}from"./Segmented-dzcZrktX.js";import{i as l}from"./exact-2uoTveuh.js";var u=e(t(),1),d=e=>({method:`POST`,path:`/v1/runs`,body:{agent:e.agent,input:e.input,...e.thread_id===void 0?{}:{thread_id:e.thread_id}},streams:!0}),f=(e,t)=>({method:`POST`,path:`/v1/runs/${e}/fork`,body:t}),p=e=>`'${e.replaceAll(`'`,`'\\''`)}'`,m=3e4,h=`END_OF_JSON`;function g({url:e,keyed:t},n){let r=[`curl ${n.streams?`-sN`:`-s`} -X ${n.method} ${p(e+n.path)}`];if(t&&r.push(`-H "authorization: Bearer $HOLDFAST_API_KEY"`),n.streams&&r.push(`-H 'accept: text/event-stream'`),n.body===void 0)return r.join(` \\
  `);let i=b(JSON.stringify(n.body));r.push(`-H 'content-type: application/json'`);let a=i.length>m;r.push(a?`--data-binary @- <<'${h}'`:`--data-raw ${p(i)}`);let o=r.join(` \\
  `);return a?`${o}\n${i}\n${h}`:o}var _=`    `;function v(e,t=``){if(e==null)return`None`;if(e===!0)return`True`;if(e===!1)return`False`;if(typeof e==`number`)return Number.isFinite(e)?String(e):`None`;if(typeof e==`string`)return y(e);if(l(e))return e.rawJSON;let n=t+_;if(Array.isArray(e))return e.length===0?`[]`:`[\n${e.map(e=>`${n}${v(e,n)},\n`).join(``)}${t}]`;let r=Object.entries(e).filter(([,e])=>e!==void 0);return r.length===0?`{}`:`{\n${r.map(([e,t])=>`${n}${y(e)}: ${v(t,n)},\n`).join(``)}${t}}`}var y=e=>b(JSON.stringify(e)),b=e=>e.replace(/[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g,e=>`\\u${e.charCodeAt(0).toString(16).padStart(4,`0`)}`);function x({url:e,keyed:t},n){let r=[...t?[`"authorization": f"Bearer {os.environ['HOLDFAST_API_KEY']}"`]:[],...n.streams?[`"accept": "text/event-stream"`]:[]],i=[y(n.method),y(e+n.path),...r.length>0?[`headers={${r.join(`, `)}}`]:[],...n.body===void 0?[]:[`json=${v(n.body,_)}`],`timeout=60`].map(e=>`${_}${e},\n`).join(``),a=t?`import os

import httpx

`:`import httpx

`;return n.streams?`${a}with httpx.stream(\n${i}) as answer:
    answer.raise_for_status()
    for line in answer.iter_lines():
        if line.startswith("data:"):
            print(line[5:].strip())
`:`${a}answer = httpx.request(\n${i})
answer.raise_for_status()
print(answer.json())
`}var S=n(),C=2e4;function w({call:e,onClose:t}){let[n,l]=(0,u.useState)(`curl`),d=o(),f={url:`${location.origin}${r}`,keyed:d.data?.via!==`local`},p=e===null?``:n===`curl`?g(f,e):x(f,e);return(0,S.jsxs)(s,{open:e!==null,onClose:t,wide:!0,title:`As code`,description:f.keyed?`The same request, for a shell or a program. It reads the key from HOLDFAST_API_KEY.`:`The same request, for a shell or a program.`,children:[(0,S.jsxs)(`div`,{className:`mb-2 flex items-center justify-between gap-2`,children:[(0,S.jsx)(c,{label:`Language`,value:n,onChange:l,options:[{value:`curl`,label:`curl`},{value:`python`,label:`Python`}]}),(0,S.jsx)(i,{text:p,label:`Copy the code`})]}),(0,S.jsxs)(`pre`,{tabIndex:0,className:`max-h-[55dvh] overflow-auto whitespace-pre-wrap rounded-md bg-sunken p-3 font-mono text-xs leading-5 [overflow-wrap:anywhere]`,children:[a(p.slice(0,C)),p.length>C&&`
…`]})]})}export{f as n,d as r,w as t};