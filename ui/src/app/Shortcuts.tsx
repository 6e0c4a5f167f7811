import { Dialog } from "~/design/Dialog";
import { Kbd } from "~/design/Facts";
import { useHotkeyList } from "~/lib/hotkeys";

/** The keys that work on the page at hand. */
export function Shortcuts({ open, onClose }: { open: boolean; onClose: () => void }) {
  const hotkeys = useHotkeyList();
  const groups = [...new Set(hotkeys.map((one) => one.group))];
  return (
    <Dialog open={open} onClose={onClose} title="Keyboard" description="What works on this page.">
      <div className="grid gap-x-8 gap-y-4 sm:grid-cols-2">
        {groups.map((group) => (
          <section key={group}>
            <h3 className="mb-1 text-xs font-medium text-ink-3">{group}</h3>
            <dl className="flex flex-col">
              {hotkeys
                .filter((one) => one.group === group)
                .map((one) => (
                  <div key={one.keys + one.does} className="flex items-center justify-between gap-3 py-1">
                    <dt className="text-sm">{one.does}</dt>
                    <dd>
                      <Kbd keys={one.keys} />
                    </dd>
                  </div>
                ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
