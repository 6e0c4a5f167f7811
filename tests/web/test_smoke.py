async def test_it(server):
    r = await server.start("echo", {"a": 1}, wait=5)
    print(r)
    assert r["status"] == "succeeded"
    assert r["output"] == {"a": 1}
    r = await server.start("chat", "hi", wait=5)
    print(r)
    for e in await server.events(f"/v1/runs/{r['id']}/events"):
        print(e)
