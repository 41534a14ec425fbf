(* OCaml: the Unix library and its systhreads. Like echo.c, without files. *)
open Unix

let named address =
  if address.[0] = '@' then ADDR_UNIX ("\000" ^ String.sub address 1 (String.length address - 1))
  else ADDR_UNIX address

let rec write_all fd data at size =
  if size > 0 then
    let written = write fd data at size in
    write_all fd data (at + written) (size - written)

let answer fd =
  let room = Bytes.create 65536 in
  let rec turn () =
    match read fd room 0 65536 with
    | 0 -> close fd
    | got -> write_all fd (Bytes.uppercase_ascii room) 0 got; turn ()
  in
  turn ()

let serve address =
  let listener = socket ~cloexec:true PF_UNIX SOCK_STREAM 0 in
  bind listener address;
  listen listener 100;
  while true do
    let connection, _ = accept ~cloexec:true listener in
    ignore (Thread.create answer connection)
  done

let ask address words =
  let fd = socket ~cloexec:true PF_UNIX SOCK_STREAM 0 in
  connect fd address;
  let fill () =
    write_all fd (Bytes.of_string words) 0 (String.length words);
    shutdown fd SHUTDOWN_SEND
  in
  let filler = Thread.create fill () in
  let heard = Buffer.create 100 and room = Bytes.create 65536 in
  let rec turn () =
    match read fd room 0 65536 with
    | 0 -> ()
    | got -> Buffer.add_subbytes heard room 0 got; turn ()
  in
  turn ();
  Thread.join filler;
  close fd;
  Buffer.contents heard

let failure what where =
  try ignore (ask (ADDR_UNIX where) "") with Unix_error (error, _, _) -> Printf.printf "%s: %s\n" what (error_message error)

let call address =
  Printf.printf "said: %s\n" (ask address "hello from OCaml");
  let capitals = String.to_seq (ask address (String.make 300000 'x')) in
  Printf.printf "half-closed: %d\n" (Seq.fold_left (fun sum c -> if c = 'X' then sum + 1 else sum) 0 capitals);
  let good = ref 0 and lock = Mutex.create () in
  let one () =
    if ask address "many" = "MANY" then (Mutex.lock lock; incr good; Mutex.unlock lock)
  in
  List.iter Thread.join (List.init 50 (fun _ -> Thread.create one ()));
  Printf.printf "at once: %d\n" !good;
  let ours, theirs = socketpair ~cloexec:true PF_UNIX SOCK_DGRAM 0 in
  ignore (send_substring ours "a datagram" 0 10 []);
  let room = Bytes.create 100 in
  Printf.printf "pair: %s\n" (Bytes.sub_string room 0 (recv theirs room 0 100 []));
  let ready, _, _ = select [ theirs ] [] [] 0.05 in
  Printf.printf "ready: %d\n" (List.length ready);
  failure "no such" "absent";
  failure "refused" "passed"

let () =
  let address = named Sys.argv.(2) in
  if Sys.argv.(1) = "serve" then serve address else call address
